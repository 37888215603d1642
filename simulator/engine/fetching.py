"""KV pools whose requests first fetch something over the host's link: an adapter, or KV kept in the host's memory."""

from collections.abc import Sequence
from typing import Any

from simulator.core import Request
from simulator.cost.base import CostModel, Decodes
from simulator.cost.terms import Seen
from simulator.engine.decode_set import DecodeSet
from simulator.engine.kv_pool import KVPool


class FetchingPool(KVPool):
    """A pool around another one; ``fetched`` has, for each request, where it starts and the ps of what it fetches.

    The iteration that computes a request's first chunk waits for it: so says ``timed``.
    """

    def __init__(self, pool: KVPool) -> None:
        # What a pool counts is the inner one's: see the properties.
        self.inner = pool
        self.block_size = pool.block_size
        self.fetched: dict[Request, tuple[int, int]] = {}

    @property
    def decodes(self) -> DecodeSet:
        """The engine's decode set."""
        return self.inner.decodes

    @decodes.setter
    def decodes(self, decodes: DecodeSet) -> None:
        self.inner.decodes = decodes

    @property
    def total(self) -> int:  # type: ignore[override]
        """Blocks in all."""
        return self.inner.total

    @property
    def free(self) -> int:
        """Blocks that can be taken."""
        return self.inner.free

    @free.setter
    def free(self, blocks: int) -> None:
        self.inner.free = blocks

    @property
    def shared(self) -> int:  # type: ignore[override]
        """By how many blocks what requests hold exceeds what is used."""
        return self.inner.shared

    def can_admit(self, request: Request) -> bool:
        """Tell whether a waiting request fits; see ``KVPool``."""
        return self.inner.can_admit(request)

    def admit(self, request: Request) -> None:
        """Give a waiting request the blocks it starts with; see ``KVPool``."""
        self.inner.admit(request)

    def extend(self, request: Request, tokens: int) -> None:
        """Give a request blocks for more tokens; see ``KVPool``."""
        self.inner.extend(request, tokens)

    def take(self, blocks: int) -> None:
        """Give decoding requests more blocks; see ``KVPool``."""
        self.inner.take(blocks)

    def release(self, request: Request, *, resumes: bool = False) -> None:
        """Take a request's blocks back; see ``KVPool``."""
        self.fetched.pop(request, None)
        self.inner.release(request, resumes=resumes)

    def give_back(self, blocks: int) -> None:
        """Free blocks that were taken for nobody's content yet."""
        self.inner.give_back(blocks)

    def adopt(self, request: Request, blocks: int) -> None:
        """Let a request hold blocks that were taken before; see ``KVPool``."""
        self.inner.adopt(request, blocks)

    def leave_behind(self, request: Request) -> Request:
        """Return a stand-in that holds what a request held here; see ``KVPool``."""
        self.fetched.pop(request, None)
        return self.inner.leave_behind(request)

    def timed(self, cost: CostModel) -> CostModel:
        """Return what iterations cost with what their prompts wait for."""
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
