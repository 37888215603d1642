"""Prefill first: a waiting prompt is more urgent than anybody's next token."""

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Chunk, Extras, Plan, Scheduler
from simulator.scheduling.make_room import discard_last
from simulator.scheduling.queues import ArrivalQueue
from simulator.scheduling.registry import scheduler

_ALONE = Extras(decodes_wait=True)


@scheduler("prefill_first")
class PrefillFirst(Scheduler):
    """Prefill-prioritising schedule: whole prompts as soon as they fit, while (or before) the others decode.

    ``max_num_seqs``: most requests running at once. ``max_num_batched_tokens``: most prompt tokens an iteration
    computes, but for a longer prompt by itself. ``mixed``: whether prompts run together with the decodes, which they
    slow down (as Orca's do), or alone, so that the decodes wait (as vLLM's did). Preempts the last to come by
    recompute.
    """

    source = "Agrawal et al., Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve, OSDI 2024, Alg. 2"

    def __init__(self, *, max_num_seqs: int = 128, max_num_batched_tokens: int = 8192, mixed: bool = False) -> None:
        if max_num_seqs < 1 or max_num_batched_tokens < 1:
            raise InputError(
                f"max_num_seqs is {max_num_seqs} and max_num_batched_tokens {max_num_batched_tokens}",
                hint="1 or more of both",
            )
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.mixed = mixed
        self.queue: ArrivalQueue = ArrivalQueue()
        self.running: dict[Request, None] = {}  # in order of arrival

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def finished(self, request: Request) -> None:
        """Drop a request that made its last token."""
        self.running.pop(request, None)

    def plan(self) -> Plan:
        """Run the prompts that fit; without any, let all decode that memory is enough for."""
        kv, decodes, queue = self.kv, self.decodes, self.queue
        if not self.mixed and queue and (chunks := self._prompts()):
            return self._with_prompts(chunks, _ALONE)
        running = len(self.running)
        discard_last(self, self.running, queue)
        kv.take(decodes.blocks_next())
        if len(self.running) < running:
            # No prompt takes at once what others just had to give; in the next iteration a shorter one may fit.
            return Plan()
        if self.mixed and queue and (chunks := self._prompts()):
            return self._with_prompts(chunks, None)
        # The queue's head waits for a slot or for memory, and only a finish frees either.
        waits = bool(queue)
        return Plan(horizon=FOREVER, arrivals_matter=not waits, outlives_finishes=not waits)

    def _with_prompts(self, chunks: list[Chunk], extras: Extras | None) -> Plan:
        if self.queue:
            return Plan(chunks, extras=extras)
        return Plan(chunks, FOREVER, outlives_finishes=True, extras=extras)

    def _prompts(self) -> list[Chunk]:
        """Admit waiting requests in order of arrival until one finds no room; return their prompts."""
        kv, queue, running = self.kv, self.queue, self.running
        budget = self.max_num_batched_tokens
        chunks: list[Chunk] = []
        while queue and len(running) < self.max_num_seqs:
            request = queue.peek()
            if not kv.can_admit(request) or (chunks and request.tokens > budget):
                break
            queue.pop()
            kv.admit(request)
            tokens = request.tokens - request.computed
            kv.extend(request, tokens)
            running[request] = None
            chunks.append((request, tokens))
            budget -= tokens
        return chunks
