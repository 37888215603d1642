"""What LightLLM and S-LoRA have in common: batches of whole prompts, a number of decode iterations apart."""

from abc import abstractmethod

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Chunk, Extras, Plan, Scheduler
from simulator.scheduling.preemption import discard

_ALONE = Extras(decodes_wait=True)


class PromptBatches(Scheduler):
    """Base of policies that let the decodes wait for a batch of prompts, and then run ``wait`` iterations at least.

    Where memory runs out after all, whoever came last is evicted and computed again. A policy says who is next
    (``head``, ``take``, ``put_back``), whether memory is enough (``iterations_until_fits``), and what else matters
    while it isn't (``until_changed``).
    """

    def __init__(self, max_num_seqs: int, max_num_batched_tokens: int, wait: int) -> None:
        for name, value in (
            ("max_num_seqs", max_num_seqs),
            ("max_num_batched_tokens", max_num_batched_tokens),
            ("wait", wait),
        ):
            if value < 1:
                raise InputError(f"{name} is {value}", hint="1 or more")
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = self.longest_prompt = max_num_batched_tokens
        self.wait = wait
        self.running: dict[Request, None] = {}  # in order of their start
        self._since = 0  # the decode iteration before which prompts were last looked for

    @abstractmethod
    def head(self) -> Request | None:
        """Return who starts next, None if nobody may now."""

    @abstractmethod
    def take(self, request: Request) -> None:
        """Hear that the head starts: it is in ``running``, and its KV blocks are taken."""

    @abstractmethod
    def put_back(self, request: Request) -> None:
        """Queue a request that was evicted."""

    @abstractmethod
    def iterations_until_fits(self, request: Request) -> int:
        """Return after how many decode iterations memory is enough for the head: 0 is now, FOREVER after a finish."""

    def gone(self, request: Request) -> None:
        """Hear that a request holds no memory any more."""

    def until_changed(self, blocked: int) -> Plan:
        """Return how long it stands that nobody starts, of whom the head does not fit for so many iterations."""
        return Plan(horizon=blocked, arrivals_matter=False)

    def finished(self, request: Request) -> None:
        """Drop a request that made its last token."""
        self.running.pop(request, None)
        self.gone(request)

    def plan(self) -> Plan:
        """Compute the prompts that may start, alone; else let everyone decode."""
        if not len(self.queue):
            return self._decode(Plan(horizon=FOREVER, outlives_finishes=True))
        if self.decodes and (rest := self.rest()):
            return self._decode(Plan(horizon=rest, arrivals_matter=False, outlives_finishes=True))
        chunks, blocked = self._start()
        self._looked(bool(chunks))
        if not chunks:
            return self._decode(self.until_changed(blocked))
        # After them, decodes alone for a while, whoever waits.
        more = len(self.queue) > 0
        return Plan(chunks, 1 + self.wait if more else FOREVER, not more, True, extras=_ALONE)

    def rest(self) -> int:
        """Return how many decode iterations are to run before prompts are looked for again."""
        return max(self._since + self.wait - self.decodes.iteration, 0)

    def _looked(self, found: bool) -> None:
        """Note that prompts were looked for, and whether one starts."""
        if found:
            self._since = self.decodes.iteration

    def _start(self) -> tuple[list[Chunk], int]:
        """Start requests one after the other, until one has to wait; return prompts, and for how long it has to."""
        kv, running = self.kv, self.running
        chunks: list[Chunk] = []
        budget = self.max_num_batched_tokens
        while (request := self.head()) is not None:
            if chunks and request.tokens > budget:
                break
            if len(running) >= self.max_num_seqs or not kv.can_admit(request):
                return chunks, FOREVER
            if running and (blocked := self.iterations_until_fits(request)):
                return chunks, blocked
            budget -= request.tokens
            kv.admit(request)
            tokens = request.tokens - request.computed
            kv.extend(request, tokens)
            running[request] = None
            chunks.append((request, tokens))
            self.take(request)
        return chunks, FOREVER

    def _decode(self, plan: Plan) -> Plan:
        """Take the memory for everybody's next token; a plan that had to evict for it is for one iteration."""
        kv, decodes = self.kv, self.decodes
        while decodes.blocks_next() > kv.free:
            victim, _ = self.running.popitem()
            self.gone(victim)
            if discard(self, victim):
                self.put_back(victim)
        kv.take(decodes.blocks_next())
        if not self.preempted:
            return plan
        self._since = decodes.iteration
        return Plan()
