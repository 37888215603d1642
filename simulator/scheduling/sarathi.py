"""Sarathi-Serve: prompts in chunks beside the decodes, so that no prompt stalls anybody."""

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Chunk, Plan, Scheduler
from simulator.scheduling.make_room import discard_last
from simulator.scheduling.queues import ArrivalQueue
from simulator.scheduling.registry import scheduler

# Nothing to decide until something arrives, or (memory, slots or the budget are taken) until something finishes.
STEADY = Plan(horizon=FOREVER, outlives_finishes=True)
BLOCKED = Plan(horizon=FOREVER, arrivals_matter=False)


@scheduler("sarathi")
class Sarathi(Scheduler):
    """Stall-free batching: all decodes, then the begun prompt, then waiting ones, up to a budget of tokens.

    ``max_num_seqs``: most requests running at once. ``max_num_batched_tokens``: most tokens an iteration computes, the
    paper's chunk size (512 for its strict and 2,048 for its relaxed limits on the time between tokens; so large that
    prompts stay whole, 8,192 there, it is the paper's ablation of hybrid batches alone). A prompt starts once
    memory holds all of it and ``watermark``, a share of the KV blocks, stays free. Where memory runs out, the last to
    come is preempted and computed again.
    """

    source = (
        "Agrawal et al., Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve, OSDI 2024, Alg. 3; "
        "memory as in its code (sarathi/core/scheduler/sarathi_scheduler.py)"
    )

    def __init__(self, *, max_num_seqs: int = 128, max_num_batched_tokens: int = 512, watermark: float = 0.01) -> None:
        if not 1 <= max_num_seqs <= max_num_batched_tokens:
            raise InputError(
                f"max_num_seqs is {max_num_seqs} and max_num_batched_tokens {max_num_batched_tokens}",
                hint="1 <= max_num_seqs <= max_num_batched_tokens, or a full batch could not decode",
            )
        if not 0 <= watermark < 1:
            raise InputError(f"watermark is {watermark}", hint="a share of the KV blocks: at least 0, less than 1")
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.watermark = watermark
        self.queue: ArrivalQueue = ArrivalQueue()
        self.running: dict[Request, None] = {}  # by arrival
        self._partial: Request | None = None  # the one whose prompt is begun; it holds memory for all of it

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def finished(self, request: Request) -> None:
        """Drop a request that made its last token."""
        self.running.pop(request, None)

    def plan(self) -> Plan:
        """Let everyone decode, and fill what is left of the budget with prompts."""
        self._let_decode()
        if not self.queue and self._partial is None:
            return STEADY
        chunks: list[Chunk] = []
        budget = self._go_on(chunks, self.max_num_batched_tokens - len(self.decodes))
        self._start(chunks, budget)
        if not chunks:
            return BLOCKED
        return Plan(chunks) if self.queue or self._partial else Plan(chunks, FOREVER, outlives_finishes=True)

    def _let_decode(self) -> None:
        """Take the memory for everybody's next token, from the last to come if there is none."""
        discard_last(self, self.running, self.queue)
        self.kv.take(self.decodes.blocks_next())
        if self._partial not in self.running:
            self._partial = None

    def _go_on(self, chunks: list[Chunk], budget: int) -> int:
        """Add the begun prompt's next chunk; return the budget left."""
        request = self._partial
        if request is None or budget <= 0:
            return budget
        tokens = min(request.tokens - request.computed, budget)
        self.kv.extend(request, tokens)
        chunks.append((request, tokens))
        if request.computed + tokens == request.tokens:
            self._partial = None
        return budget - tokens

    def _start(self, chunks: list[Chunk], budget: int) -> None:
        """Add first chunks of waiting prompts in order of arrival, as far as budget, slots and memory go."""
        kv, queue, running = self.kv, self.queue, self.running
        spare = int(self.watermark * kv.total)
        while queue and budget > 0 and len(running) < self.max_num_seqs:
            request = queue.peek()
            # Whoever is alone needs no room for the growth of others.
            if running and kv.blocks_for(request.tokens) + spare > kv.free:
                break
            if not kv.can_admit(request):
                break
            queue.pop()
            kv.admit(request)
            # Blocks for the whole prompt; what is in them becomes known chunk by chunk.
            blocks = kv.blocks_for(request.tokens) - request.blocks
            kv.take(blocks)
            request.blocks += blocks
            tokens = min(request.tokens - request.computed, budget)
            kv.extend(request, tokens)
            running[request] = None
            chunks.append((request, tokens))
            budget -= tokens
            if request.computed + tokens < request.tokens:
                self._partial = request
