"""KV blocks of one instance, counted: who holds how many, and what survives of a preempted request."""

from abc import ABC, abstractmethod
from collections import deque

from mypy_extensions import mypyc_attr

from simulator.core import Request
from simulator.cost.base import CostModel
from simulator.engine.decode_set import DecodeSet


@mypyc_attr(allow_interpreted_subclasses=True)
class KVPool(ABC):
    """A pool of ``total`` blocks of ``block_size`` tokens each; ``free`` of them can be taken.

    ``request.blocks`` is what a request holds while it isn't decoding; a decoding request holds
    ``ceil(computed / block_size)``, which the pool is told in sums (``take``). The engine sets ``decodes``.
    """

    decodes: DecodeSet
    shared: int = 0  # by how many blocks what requests hold, summed over requests, exceeds ``used``

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

    def give_back(self, blocks: int) -> None:
        """Free blocks that were taken for nobody's content yet."""
        self.free += blocks

    def adopt(self, request: Request, blocks: int) -> None:
        """Let a request hold blocks that were taken before, with the KV of its ``computed`` tokens."""
        request.blocks = blocks

    def leave_behind(self, request: Request) -> Request:
        """Return a stand-in that holds what a request held here, which goes on elsewhere; release it in its place."""
        stand_in = Request(request.index, request.arrival, request.prompt_tokens, request.output_tokens)
        stand_in.computed, stand_in.blocks = request.computed, request.blocks
        request.blocks = 0
        return stand_in

    def timed(self, cost: CostModel) -> CostModel:
        """Return what iterations cost with what this pool must fetch for them; nothing here."""
        return cost

    def check_integrity(self) -> None:
        """Assert that the pool of an idle instance is whole."""
        assert self.free == self.total, f"{self.total - self.free} KV blocks leaked"


class CountingPool(KVPool):
    """Blocks as plain counts: exact where no two requests share content.

    With ``reuse`` (prefix caching on), a preempted request's full blocks stay readable until their turn comes: after
    all that were free before them, its last block first. So what survives is one number a request. In vLLM's order of
    reuse, blocks without reusable content go first, then the rest, longest unused first; which of the blocks before
    the first survivor go first makes no difference, and where nothing survives, none of it does.
    """

    def __init__(self, total: int, block_size: int, *, reuse: bool) -> None:
        super().__init__(total, block_size)
        self.reuse = reuse
        # Free blocks from the first survivor on, longest unused first: in turns what survives of a request (also in
        # ``_kept``), and what others left behind it. Run by run; [0] shrinks as blocks are overwritten.
        self._queue: deque[list[int]] = deque()
        self._queued = 0
        self._kept: dict[Request, list[int]] = {}

    def admit(self, request: Request) -> None:
        """Give a resumed request what survived of its blocks; see ``KVPool``."""
        request.blocks = request.computed = 0
        if self._kept and (kept := self._kept.pop(request, None)):
            request.blocks, kept[0] = kept[0], 0
            request.computed = request.blocks * self.block_size
            self.free -= request.blocks
            self._queued -= request.blocks
            if not self._kept:
                self._queue.clear()
                self._queued = 0

    def extend(self, request: Request, tokens: int) -> None:
        """Give a request blocks for more tokens; see ``KVPool``."""
        more = -(-(request.computed + tokens) // self.block_size) - request.blocks
        if more > 0:
            request.blocks += more
            self.free = free = self.free - more
            if free < self._queued:
                self._overwrite(self._queued - free)

    def take(self, blocks: int) -> None:
        """Take free blocks in their order of reuse; see ``KVPool``."""
        self.free = free = self.free - blocks
        if free < self._queued:
            self._overwrite(self._queued - free)

    def _overwrite(self, blocks: int) -> None:
        """Overwrite queued blocks, the longest unused first."""
        self._queued -= blocks
        while blocks and self._queue:
            run = self._queue[0]
            if run[0] > blocks:
                run[0] -= blocks
                return
            blocks -= run[0]
            run[0] = 0
            self._queue.popleft()

    def release(self, request: Request, *, resumes: bool = False) -> None:
        """Take a request's blocks back; see ``KVPool``."""
        held = request.blocks
        request.blocks = 0
        self.free += held
        if not self.reuse or not (resumes or self._queue):
            return
        full = request.computed // self.block_size
        self._queued += full
        if resumes:
            self._kept[request] = run = [full]
            self._queue.append(run)
            # A finished request's blocks behind it must not be merged into what this one may find again.
            self._queue.append([0])
        else:
            self._queue[-1][0] += full
