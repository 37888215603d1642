"""KV blocks of one instance, counted: who holds how many, and what survives of a preempted request."""

from abc import ABC, abstractmethod
from collections import deque

from simulator.core import Request
from simulator.engine.decode_set import DecodeSet


class KVPool(ABC):
    """A pool of ``total`` blocks of ``block_size`` tokens each; ``free`` of them can be taken.

    ``request.blocks`` is what a request holds while it isn't decoding; a decoding request holds
    ``ceil(computed / block_size)``, which the pool is told in sums (``take``). The engine sets ``decodes``.
    """

    decodes: DecodeSet

    def __init__(self, total: int, block_size: int) -> None:
        self.total = total
        self.block_size = block_size
        self.free = total

    @property
    def used(self) -> int:
        """Blocks held by requests."""
        return self.total - self.free

    def blocks_for(self, tokens: int) -> int:
        """Return how many blocks hold a number of tokens."""
        return -(-tokens // self.block_size)

    def can_admit(self, request: Request) -> bool:
        """Tell whether a waiting request's whole sequence so far fits, cached blocks included (as vLLM asks)."""
        return -(-(request.prompt_tokens + request.generated) // self.block_size) <= self.free

    @abstractmethod
    def admit(self, request: Request) -> None:
        """Give a waiting request the cached blocks it starts with, and set ``computed`` to the tokens they hold."""

    @abstractmethod
    def extend(self, request: Request, tokens: int) -> None:
        """Give a request the blocks that ``tokens`` more tokens need; the caller made sure that they are free."""

    @abstractmethod
    def take(self, blocks: int) -> None:
        """Give decoding requests ``blocks`` more blocks in all."""

    @abstractmethod
    def release(self, request: Request, *, resumes: bool = False) -> None:
        """Take a request's blocks back; one that ``resumes`` may find the full ones again on its next ``admit``."""

    def check_integrity(self) -> None:
        """Assert that the pool of an idle instance is whole."""
        assert self.free == self.total, f"{self.total - self.free} KV blocks leaked"


class CountingPool(KVPool):
    """Blocks as plain counts: exact where no two requests share content.

    The free blocks stand in vLLM's order of reuse: first those without reusable content, then the rest, longest unused
    first. With ``reuse`` (prefix caching on), a preempted request's full blocks stay readable until their turn comes,
    its last block first; so what survives is one number a request.
    """

    def __init__(self, total: int, block_size: int, *, reuse: bool) -> None:
        super().__init__(total, block_size)
        self.reuse = reuse
        self._plain = total
        # Runs of full blocks, longest unused first; [0] shrinks as they are overwritten.
        self._unused: deque[list[int]] = deque()
        self._kept: dict[Request, list[int]] = {}

    def admit(self, request: Request) -> None:
        """Give a resumed request what survived of its blocks; see ``KVPool``."""
        request.blocks = request.computed = 0
        if self._kept and (kept := self._kept.pop(request, None)) and kept[0]:
            request.blocks, kept[0] = kept[0], 0
            request.computed = request.blocks * self.block_size
            self.free -= request.blocks

    def extend(self, request: Request, tokens: int) -> None:
        """Give a request blocks for more tokens; see ``KVPool``."""
        more = -(-(request.computed + tokens) // self.block_size) - request.blocks
        if more > 0:
            request.blocks += more
            self.take(more)

    def take(self, blocks: int) -> None:
        """Take free blocks in their order of reuse; see ``KVPool``."""
        self.free -= blocks
        plain = self._plain = self._plain - blocks
        if plain >= 0:
            return
        while self._plain < 0:
            run = self._unused[0]
            if run[0] + self._plain > 0:
                run[0] += self._plain
                self._plain = 0
            else:
                self._plain += run[0]
                run[0] = 0
                self._unused.popleft()

    def release(self, request: Request, *, resumes: bool = False) -> None:
        """Take a request's blocks back; see ``KVPool``."""
        held = request.blocks
        request.blocks = 0
        self.free += held
        if not self.reuse:
            self._plain += held
            return
        full = request.computed // self.block_size
        self._plain += held - full
        if resumes:
            self._kept[request] = run = [full]
            self._unused.append(run)
            # A finished request's blocks behind it must not be merged into what this one may find again.
            self._unused.append([0])
        elif self._unused:
            self._unused[-1][0] += full
        else:
            self._unused.append([full])
