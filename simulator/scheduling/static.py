"""Request-level batching: a batch is put together once, and all its requests leave with the last."""

from collections import deque
from typing import Literal

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Chunk, Extras, Plan, Scheduler
from simulator.scheduling.queues import ArrivalQueue
from simulator.scheduling.registry import scheduler

_NO_BATCH = Plan(horizon=FOREVER)


@scheduler("static")
class Static(Scheduler):
    """Request-level batching as FasterTransformer's: batches of those that wait, each run until its longest ends.

    All requests of a batch are answered at its end, until which finished ones go on computing. ``max_num_seqs``: most
    requests in a batch. ``prompts``: computed together as far as the ``shortest`` goes and then, while the others
    decode, token by token; or ``padded`` to the longest. ``max_len``: tokens for which memory is set aside for each
    request; a longer one gets what it needs.
    """

    source = "NVIDIA FasterTransformer, as Yu et al., Orca, OSDI 2022, sections 2 and 6.2 describe and measure it"
    recomputes = False
    holds_back = True

    def __init__(
        self, *, max_num_seqs: int = 8, prompts: Literal["shortest", "padded"] = "shortest", max_len: int = 2048
    ) -> None:
        if max_num_seqs < 1 or max_len < 1:
            raise InputError(f"max_num_seqs is {max_num_seqs} and max_len {max_len}", hint="1 or more of both")
        self.max_num_seqs = max_num_seqs
        self.padded = prompts == "padded"
        self.max_len = max_len
        self.queue: ArrivalQueue = ArrivalQueue()
        self.running: dict[Request, None] = {}
        self._width = 0  # how many there were at the batch's beginning
        self._done: list[Request] = []  # made their last token, and wait for the others
        # The batch goes in step: before step n every slot holds ``_common + n - 1`` tokens, padding included.
        self._common = 0
        self._begin = 0  # iteration of step 0
        self._padding = 0  # tokens by which the prompts of those that decode were padded
        self._prompting: deque[Request] = deque()  # have prompt left after step 0, the shortest first

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def finished(self, request: Request) -> None:
        """Drop a request that was answered."""
        self.running.pop(request, None)

    def deliver(self, requests: list[Request]) -> list[Request]:
        """Return the whole batch once the last of it made its last token, nobody before."""
        self._done += requests
        if self.padded:
            self._padding -= sum(self._common - request.prompt_tokens for request in requests)
        if len(self._done) < self._width:
            return []
        answered, self._done = self._done, []
        return answered

    def plan(self) -> Plan:
        """Begin a batch if there is none; else go one step on in all slots."""
        if not self.running:
            return self._begin_batch() if self.queue else _NO_BATCH
        step = self.decodes.iteration - self._begin
        self.kv.take(self.decodes.blocks_next())
        prompting = self._prompting
        chunks: list[Chunk] = []
        while prompting and prompting[0].prompt_tokens - self._common == step:
            chunks.append(self._last_prompt_token(prompting.popleft()))
        if not (prompting or chunks or self.decodes):
            return _NO_BATCH  # all are done, which an asynchronous engine hears later
        horizon = prompting[0].prompt_tokens - self._common - step if prompting else FOREVER
        idle = self._width - len(self.decodes) - len(chunks)
        context = idle * (self._common + step) + self._padding
        return Plan(chunks, horizon, arrivals_matter=False, extras=Extras(idle=idle, idle_context=context))

    def _begin_batch(self) -> Plan:
        """Take waiting requests as far as slots and memory go; compute their prompts as far as the shortest, or all."""
        kv, queue, running = self.kv, self.queue, self.running
        free = kv.total
        while queue and len(running) < self.max_num_seqs:
            request = queue.peek()
            blocks = kv.blocks_for(max(self.max_len, request.prompt_tokens + request.output_tokens))
            if running and blocks > free:
                break
            free -= blocks
            running[queue.pop()] = None
        prompts = [request.prompt_tokens for request in running]
        self._common = common = max(prompts) if self.padded else min(prompts)
        self._begin, self._width = self.decodes.iteration, len(running)
        self._padding = sum(common - prompt for prompt in prompts) if self.padded else 0
        longer = [] if self.padded else [request for request in running if request.prompt_tokens > common]
        self._prompting = deque(sorted(longer, key=lambda request: request.prompt_tokens))
        chunks: list[Chunk] = []
        for request in running:
            kv.admit(request)
            request.computed = 0  # nothing is reused: all slots go in step
            kv.extend(request, request.prompt_tokens)
            chunks.append((request, min(common, request.prompt_tokens)))
        padded = [(request, common) for request in running] if self._padding else None
        horizon = 1 if longer or self._padding else FOREVER
        return Plan(chunks, horizon, arrivals_matter=False, extras=Extras(padded=padded))

    def _last_prompt_token(self, request: Request) -> Chunk:
        request.computed = request.prompt_tokens - 1
        return request, 1
