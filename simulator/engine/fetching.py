"""KV pools whose requests first fetch something over the host's link: an adapter, or KV kept in the host's memory."""

from collections.abc import Sequence
from typing import Any

from simulator.core import Request
from simulator.cost.base import CostModel, Decodes
from simulator.cost.terms import Seen
from simulator.engine.kv_pool import KVPool


class FetchingPool(KVPool):
    """A pool around another one; ``fetched`` has, for each request, where it starts and the ps of what it fetches.

    The iteration that computes a request's first chunk waits for it: so says ``timed``.
    """

    def __init__(self, pool: KVPool) -> None:
        super().__init__(pool.total, pool.block_size)
        self.inner = pool
        self.fetched: dict[Request, tuple[int, int]] = {}
        self._count()

    def _count(self) -> None:
        # The inner pool counts; compiled code reads a pool's numbers where they are, past any property.
        self.free, self.shared = self.inner.free, self.inner.shared

    def can_admit(self, request: Request) -> bool:
        """Tell whether a waiting request fits; see ``KVPool``."""
        return self.inner.can_admit(request)

    def admit(self, request: Request) -> None:
        """Give a waiting request the blocks it starts with; see ``KVPool``."""
        self.inner.admit(request)
        self._count()

    def extend(self, request: Request, tokens: int) -> None:
        """Give a request blocks for more tokens; see ``KVPool``."""
        self.inner.extend(request, tokens)
        self._count()

    def take(self, blocks: int) -> None:
        """Give decoding requests more blocks; see ``KVPool``."""
        self.inner.take(blocks)
        self._count()

    def release(self, request: Request, *, resumes: bool = False) -> None:
        """Take a request's blocks back; see ``KVPool``."""
        self.fetched.pop(request, None)
        self.inner.release(request, resumes=resumes)
        self._count()

    def give_back(self, blocks: int) -> None:
        """Free blocks that were taken for nobody's content yet."""
        self.inner.give_back(blocks)
        self._count()

    def adopt(self, request: Request, blocks: int) -> None:
        """Let a request hold blocks that were taken before; see ``KVPool``."""
        self.inner.adopt(request, blocks)
        self._count()

    def leave_behind(self, request: Request) -> Request:
        """Return a stand-in that holds what a request held here; see ``KVPool``."""
        self.fetched.pop(request, None)
        stand_in = self.inner.leave_behind(request)
        self._count()
        return stand_in

    def timed(self, cost: CostModel) -> CostModel:
        """Return what iterations cost with what their prompts wait for."""
        self.inner.decodes = self.decodes
        return FetchingCost(self.inner.timed(cost), self)


class FetchingCost(CostModel):
    """Iterations that wait for what the requests in them fetch, one after the other on the link."""

    def __init__(self, cost: CostModel, pool: FetchingPool) -> None:
        self._cost = cost
        self._pool = pool

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        """Return (first, growth, limit) of iterations that only decode, which fetch nothing."""
        return self._cost.decode_run(requests, context, decodes)

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the duration of an iteration with prompt chunks and what the first of them wait for."""
        duration = self._cost.mixed(chunks, tokens, requests, context, decodes)
        if fetched := self._pool.fetched:
            for request, _ in chunks:
                start, ps = fetched.get(request, (-1, 0))
                if request.computed == start:
                    duration += ps
        return duration

    def coverage(self, seen: Seen | None = None) -> dict[str, Any]:
        """Return what the times rest on."""
        return self._cost.coverage(seen)
