"""Decode first: no new prompt before everybody who runs is done."""

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Chunk, Plan, Scheduler
from simulator.scheduling.make_room import discard_last
from simulator.scheduling.queues import ArrivalQueue
from simulator.scheduling.registry import scheduler

_NO_BATCH = Plan(horizon=FOREVER)
_BATCH = Plan(horizon=FOREVER, arrivals_matter=False, outlives_finishes=True)


@scheduler("decode_first")
class DecodeFirst(Scheduler):
    """Decode-prioritising schedule: batches of those that wait, their prompts in one go, then nothing but decodes.

    Unlike ``static``, a request is answered when it is done, its slot then costs nothing, and memory is paged.
    ``max_num_seqs``: most requests in a batch. Where memory runs out, the last to come is preempted; it is computed
    again in the next batch.
    """

    source = "Agrawal et al., Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve, OSDI 2024, Alg. 1"

    def __init__(self, *, max_num_seqs: int = 128) -> None:
        if max_num_seqs < 1:
            raise InputError(f"max_num_seqs is {max_num_seqs}", hint="1 or more")
        self.max_num_seqs = max_num_seqs
        self.queue: ArrivalQueue = ArrivalQueue()
        self.running: dict[Request, None] = {}  # in order of arrival

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def finished(self, request: Request) -> None:
        """Drop a request that made its last token."""
        self.running.pop(request, None)

    def plan(self) -> Plan:
        """Let the batch decode; when it is done, compute the prompts of the next."""
        kv = self.kv
        if self.running:
            discard_last(self, self.running, self.queue)
            kv.take(self.decodes.blocks_next())
            return _BATCH if self.running else Plan()
        queue, running = self.queue, self.running
        chunks: list[Chunk] = []
        while queue and len(running) < self.max_num_seqs and kv.can_admit(queue.peek()):
            request = queue.pop()
            kv.admit(request)
            tokens = request.tokens - request.computed
            kv.extend(request, tokens)
            running[request] = None
            chunks.append((request, tokens))
        return Plan(chunks, FOREVER, arrivals_matter=False, outlives_finishes=True) if chunks else _NO_BATCH
