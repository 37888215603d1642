"""Request-level batching whose batches may move: one batch at a time, decoded to its end, from where its KV is."""

from collections import deque

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Chunk, Plan, Scheduler
from simulator.scheduling.preemption import discard, pause
from simulator.scheduling.queues import ArrivalQueue
from simulator.scheduling.registry import scheduler

_STEADY = Plan(horizon=FOREVER, outlives_finishes=True, arrivals_matter=False)
_BUSY = Plan(horizon=FOREVER, arrivals_matter=False)
_EMPTY = Plan(horizon=FOREVER)


@scheduler("whole_batches")
class WholeBatches(Scheduler):
    """Batches of up to ``max_num_seqs`` requests that wait, one after the other, each run until its last request ends.

    Memory for their whole outputs is set aside, so they preempt nobody. A request is answered at its own end, without
    waiting for the others of its batch. Those that come with their KV join the batch in progress if it has room.
    """

    source = "Miao et al., SpotServe, ASPLOS 2024: batches on FasterTransformer, committed token by token"
    adopts = True

    def __init__(self, *, max_num_seqs: int = 8) -> None:
        if max_num_seqs < 1:
            raise InputError(f"max_num_seqs is {max_num_seqs}", hint="1 or more")
        self.max_num_seqs = max_num_seqs
        self.queue: ArrivalQueue = ArrivalQueue()
        self.running: dict[Request, None] = {}
        self.adopted: deque[Request] = deque()
        self._set_aside = 0  # KV blocks of those that run, to their ends

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def finished(self, request: Request) -> None:
        """Drop a request that made its last token."""
        self._drop(request)

    def plan(self) -> Plan:
        """Go on with the batch, or put the next one together."""
        kv, decodes = self.kv, self.decodes
        while self.adopted and self._take(self.adopted[0]):
            decodes.add(self.adopted.popleft())
        if self.adopted and not self.running:
            # It came with KV where others' KV is on its way, and there will be no room for both: compute it again.
            self._discard(self.adopted.popleft())
        while decodes.blocks_next() > kv.free:
            # What is set aside holds for this batch; KV on its way here may have taken it all the same.
            self._discard(next(reversed(self.running)))
        if self.running:
            kv.take(decodes.blocks_next())
            if self.preempted:
                return Plan()  # whoever waits with its KV may have a slot in the next one
            return _STEADY if not (self.adopted or self.queue) else _BUSY
        chunks: list[Chunk] = []
        while self.queue and self._fits(request := self.queue.peek()) and kv.can_admit(request):
            self.queue.pop()
            self._take(request)
            kv.admit(request)
            tokens = request.tokens - request.computed
            kv.extend(request, tokens)
            chunks.append((request, tokens))
        if not chunks:
            return _EMPTY
        return Plan(chunks, FOREVER, arrivals_matter=False, outlives_finishes=not (self.queue or self.adopted))

    def promised(self, used: int) -> int:
        """Return the KV blocks that are set aside for those that run and that they do not hold yet."""
        return max(self._set_aside - used, 0)

    def adopt(self, request: Request) -> None:
        """Take in a request that decodes and holds its KV blocks here already; it goes before all that wait."""
        self.adopted.append(request)

    def withdraw(self, request: Request) -> None:
        """Take a decoding request out, which leaves with its KV, and forget it."""
        pause(self, request)
        self._drop(request)

    def _whole(self, request: Request) -> int:
        # The last token is never written to the cache; with it, one that just fits the instance would wait for ever.
        return self.kv.blocks_for(request.prompt_tokens + request.output_tokens - 1)

    def _fits(self, request: Request) -> bool:
        # What came with its KV and waits for its turn has blocks of its own.
        waiting = sum(each.blocks for each in self.adopted if each is not request)
        room = self.kv.total - self._set_aside - waiting
        return len(self.running) < self.max_num_seqs and self._whole(request) <= room

    def _take(self, request: Request) -> bool:
        if not self._fits(request):
            return False
        self.running[request] = None
        self._set_aside += self._whole(request)
        return True

    def _discard(self, request: Request) -> None:
        self._drop(request)
        if discard(self, request):
            self.queue.push_front(request)

    def _drop(self, request: Request) -> None:
        if request in self.running:
            del self.running[request]
            self._set_aside -= self._whole(request)
