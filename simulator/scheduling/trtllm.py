"""TensorRT-LLM's in-flight batching: first come, first served, and whoever started is never evicted.

Defaults are those of its tuning guide. Not modelled: that a prompt waits for one of the same beginning that is being
computed, so as to reuse its blocks.
"""

from collections import deque

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Chunk, Plan, Scheduler
from simulator.scheduling.queues import ArrivalQueue
from simulator.scheduling.registry import scheduler

# Nothing to decide until something arrives, or (the queue's head is blocked) until something finishes.
_STEADY = Plan(horizon=FOREVER, outlives_finishes=True)
_BLOCKED = Plan(horizon=FOREVER, arrivals_matter=False)


@scheduler("trtllm")
class TRTLLM(Scheduler):
    """TensorRT-LLM with capacity policy GUARANTEED_NO_EVICT: KV blocks for prompt and whole output before a start.

    ``max_batch_size``: most requests running at once. ``max_num_tokens``: most tokens an iteration computes.
    ``enable_chunked_prefill``: whether a prompt may be computed in pieces (of whole KV blocks, but for the last);
    without it, one longer than ``max_num_tokens`` fails. Its overlap scheduler is the instance's ``admission_lag``.
    """

    source = "TensorRT-LLM 1.0, cpp/tensorrt_llm/batch_manager/{capacityScheduler,microBatchScheduler}.cpp"
    recomputes = False

    def __init__(
        self, *, max_batch_size: int = 2048, max_num_tokens: int = 8192, enable_chunked_prefill: bool = False
    ) -> None:
        if not 1 <= max_batch_size <= max_num_tokens:
            raise InputError(
                f"max_batch_size is {max_batch_size} and max_num_tokens {max_num_tokens}",
                hint="1 <= max_batch_size <= max_num_tokens, or a full batch could not decode",
            )
        self.max_batch_size = max_batch_size
        self.max_num_tokens = max_num_tokens
        self.enable_chunked_prefill = enable_chunked_prefill
        if not enable_chunked_prefill:
            self.longest_prompt = max_num_tokens
        self.queue: ArrivalQueue = ArrivalQueue()
        self._reserved: dict[Request, int] = {}  # KV blocks of running requests, up to their last token
        self._reserved_blocks = 0
        self._partial: deque[Request] = deque()  # running, with prompt left, in order of arrival

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def finished(self, request: Request) -> None:
        """Drop a request that made its last token, and its reservation."""
        self._reserved_blocks -= self._reserved.pop(request)

    def plan(self) -> Plan:
        """Run all decodes, then unfinished prompts, then waiting requests as tokens, slots and reservations allow."""
        kv, decodes = self.kv, self.decodes
        kv.take(decodes.blocks_next())
        if not self.queue and not self._partial:
            return _STEADY
        budget = self.max_num_tokens - len(decodes)
        chunks: list[Chunk] = []
        while self._partial:
            request = self._partial[0]
            tokens = self._chunk(request.prompt_tokens - request.computed, budget)
            if not tokens:
                break
            kv.extend(request, tokens)
            chunks.append((request, tokens))
            budget -= tokens
            if request.computed + tokens < request.prompt_tokens:
                break
            self._partial.popleft()
        if not self._partial:
            self._admit(chunks, budget)
        if chunks:
            only_decodes_follow = not self.queue and not self._partial
            return Plan(chunks, FOREVER, outlives_finishes=True) if only_decodes_follow else Plan(chunks)
        # The head waits for a slot, for memory or for room beside the decodes; only a finish makes any of them.
        return _BLOCKED

    def _admit(self, chunks: list[Chunk], budget: int) -> None:
        """Start waiting requests in order of arrival until one finds no room."""
        kv, queue = self.kv, self.queue
        while queue and len(self._reserved) < self.max_batch_size:
            request = queue.peek()
            # Tokens in the cache count in the budget all the same: the engine looks them up after it has decided.
            tokens = self._chunk(request.prompt_tokens, budget)
            blocks = min(kv.blocks_for(request.prompt_tokens + request.output_tokens), kv.total)
            if not tokens or self._reserved_blocks + blocks > kv.total + kv.shared:
                break
            queue.pop()
            kv.admit(request)
            self._reserved[request] = blocks
            self._reserved_blocks += blocks
            budget -= tokens
            tokens = min(tokens, request.prompt_tokens - request.computed)
            kv.extend(request, tokens)
            chunks.append((request, tokens))
            if request.computed + tokens < request.prompt_tokens:
                self._partial.append(request)
                break

    def _chunk(self, prompt: int, budget: int) -> int:
        """Return how many of a prompt's tokens left to compute an iteration with so much room takes."""
        if prompt <= budget:
            return prompt
        unit = min(self.kv.block_size, self.max_num_tokens)
        return budget // unit * unit if self.enable_chunked_prefill else 0
