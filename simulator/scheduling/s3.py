"""S3: memory for the output length that a predictor expects, and a second try with twice as much where it was wrong."""

from bisect import bisect_left, insort
from functools import cached_property
from heapq import heappop, heappush

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Chunk, Plan, Scheduler
from simulator.scheduling.predictors import Bucketed
from simulator.scheduling.preemption import discard
from simulator.scheduling.registry import scheduler
from simulator.scheduling.reservations import Reservations


@scheduler("s3")
class S3(Scheduler):
    """S3: reserves the prompt and the predicted output; packs whoever waits, the largest that fits first.

    A classifier puts each output into one of ``bins`` equal parts of ``max_len`` tokens, with probability ``accuracy``
    the right one, else a neighbour; the bin's upper edge is what is reserved. A request that outgrows its reservation
    is evicted, and computed again with twice the output reserved. Iterations are ORCA's: whole prompts run with the
    decodes. ``max_num_seqs``: most requests in a batch. ``seed``: of the predictor's mistakes.
    """

    source = (
        "Jin et al., S3: Increasing GPU Utilization during Generative Inference for Higher Throughput, NeurIPS 2023"
    )
    starves = True  # small requests may take, again and again, the room that a large one waits for

    def __init__(
        self, *, max_num_seqs: int = 256, max_len: int = 2048, bins: int = 10, accuracy: float = 1.0, seed: int = 0
    ) -> None:
        if max_num_seqs < 1 or not 1 <= bins <= max_len:
            raise InputError(
                f"max_num_seqs is {max_num_seqs}, bins {bins} and max_len {max_len}",
                hint="max_num_seqs >= 1 and 1 <= bins <= max_len",
            )
        self.max_num_seqs = max_num_seqs
        edges = [-(-max_len * (bin_ + 1) // bins) for bin_ in range(bins)]
        self._predictor = Bucketed(edges=edges, accuracy=accuracy, says="upper", seed=seed)
        # By memory needed, the largest first, then by arrival.
        self.queue: list[tuple[int, int, int, Request]] = []
        self._granted: dict[Request, int] = {}  # output tokens that are reserved
        # The iteration in which a request first lacks memory. Whoever ends before is left out, which changes nothing.
        self._outgrow: list[tuple[int, Request]] = []

    @cached_property
    def _reserved(self) -> Reservations:
        return Reservations(self.kv.total)

    def add(self, request: Request) -> None:
        """Predict a request's output, and queue it."""
        self._granted[request] = int(self._predictor.predict(request))
        self._push(request)

    def finished(self, request: Request) -> None:
        """Give back what a request that made its last token had reserved."""
        self._reserved.give_back(request)
        self._granted.pop(request, None)

    def plan(self) -> Plan:
        """Evict whoever outgrew its memory, run all other decodes, and start the largest requests that fit."""
        kv, decodes, queue, reserved = self.kv, self.decodes, self.queue, self._reserved
        outgrow, iteration = self._outgrow, decodes.iteration
        while outgrow and outgrow[0][0] <= iteration:
            self._evict(heappop(outgrow)[1])
        kv.take(decodes.blocks_next())
        chunks: list[Chunk] = []
        while queue and len(reserved) < self.max_num_seqs:
            largest = bisect_left(queue, (-reserved.free,))
            if largest == len(queue):
                break
            request = queue.pop(largest)[3]
            reserved.take(request, self._blocks(request))
            kv.admit(request)
            tokens = request.tokens - request.computed
            kv.extend(request, tokens)
            chunks.append((request, tokens))
            granted = self._granted[request]
            if granted < request.output_tokens:
                heappush(outgrow, (iteration + granted - request.generated + 1, request))
        until = outgrow[0][0] - iteration if outgrow else FOREVER
        # A small newcomer may fit where those that wait don't, but not without a slot, and a finish makes one.
        full = len(reserved) >= self.max_num_seqs
        return Plan(chunks, until, arrivals_matter=not full, outlives_finishes=not (queue or full))

    def _evict(self, request: Request) -> None:
        if request not in self.decodes:
            return
        discard(self, request)
        self._reserved.give_back(request)
        self._granted[request] *= 2
        self._push(request)

    def _push(self, request: Request) -> None:
        insort(self.queue, (-self._blocks(request), request.arrival, request.index, request))

    def _blocks(self, request: Request) -> int:
        return min(self.kv.blocks_for(request.prompt_tokens + self._granted[request]), self.kv.total)
