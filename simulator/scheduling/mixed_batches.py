"""Mixed batches of decodes and prompt chunks under a token budget, as vLLM V1 makes them (``scheduling/vllm.py``).

A file of its own because it is among the modules that are compiled (``simulator/compiled.py``), which lose the types of
a constructor's parameters.
"""

from collections import deque

from mypy_extensions import mypyc_attr

from simulator.core import Request
from simulator.engine.scheduler import FOREVER, Chunk, Plan, Scheduler
from simulator.scheduling.adoption import take_in
from simulator.scheduling.preemption import pause
from simulator.scheduling.queues import ArrivalQueue, KeyQueue, WaitingQueue

# Nothing to decide until something arrives, or (the queue's head is blocked) until something finishes.
_STEADY = Plan(horizon=FOREVER, outlives_finishes=True)
_BLOCKED = Plan(horizon=FOREVER, arrivals_matter=False)


@mypyc_attr(allow_interpreted_subclasses=True)
class MixedBatches(Scheduler):
    """Decodes first, then prompt chunks in order of arrival (or priority); preempts by recompute.

    ``max_num_seqs``: most requests running at once. ``max_num_batched_tokens``: most tokens an iteration computes.
    """

    def __init__(self, *, max_num_seqs: int, max_num_batched_tokens: int, by_priority: bool) -> None:
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.by_priority = by_priority
        self.queue: WaitingQueue = KeyQueue(lambda request: request.priority) if by_priority else ArrivalQueue()
        self.running: dict[Request, None] = {}  # in order of admission
        # At most one running request has prompt left: admission stops at the chunk that empties the token budget.
        self._partial: Request | None = None
        self._skipped: list[Request] = []
        self.adopted: deque[Request] = deque()

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def finished(self, request: Request) -> None:
        """Drop a request that made its last token."""
        self.running.pop(request, None)

    def plan(self) -> Plan:
        """Run all decodes, then the unfinished prompt, then as many waiting requests as budget and memory allow."""
        kv, decodes, partial = self.kv, self.decodes, self._partial
        if self._skipped:
            self._rejoin()
        if self.adopted:
            take_in(self, self.adopted, self.running, self.queue, self.max_num_seqs)
        blocks = decodes.blocks_next()
        if partial is None:
            if blocks > kv.free:
                return self._plan_when_short()
            if blocks:
                kv.take(blocks)
            if not self.queue:
                return _BLOCKED if self.adopted else _STEADY
            budget = self.max_num_batched_tokens - len(decodes.members)
            chunks: list[Chunk] = []
        else:
            budget = self.max_num_batched_tokens - len(decodes.members)
            tokens = min(partial.tokens - partial.computed, budget)
            if blocks + kv.blocks_for(partial.computed + tokens) - partial.blocks > kv.free:
                return self._plan_when_short()
            kv.take(blocks)
            kv.extend(partial, tokens)
            chunks = [(partial, tokens)]
            budget -= tokens
            if partial.computed + tokens == partial.tokens:
                self._partial = None
        queue, running = self.queue, self.running
        while queue and budget > 0 and len(running) < self.max_num_seqs:
            request = queue.pop()
            if not kv.can_admit(request):
                queue.push_front(request)
                break
            kv.admit(request)
            tokens = request.prompt_tokens + request.generated - request.computed
            if tokens > budget:
                tokens = budget
                self._partial = request
            kv.extend(request, tokens)
            running[request] = None
            chunks.append((request, tokens))
            budget -= tokens
        if chunks:
            # With all prompts done and nobody waiting, only decodes follow.
            return Plan(chunks) if queue or self._partial or self.adopted else Plan(chunks, FOREVER, True, True)
        # The head waits for a slot or for memory, and only a finish frees either; by priority a newcomer may pass it.
        return _BLOCKED._replace(arrivals_matter=True) if self.by_priority else _BLOCKED

    def _plan_when_short(self) -> Plan:
        """Hand out memory in order of admission, preempting from the back (or the least urgent) until it is enough."""
        kv, decodes = self.kv, self.decodes
        given: dict[Request, int] = {}
        for request in list(self.running):
            if request not in self.running or request.finished_at >= 0:
                continue
            if request in decodes:
                tokens, blocks = 1, int(decodes.crosses(request))
            else:
                tokens = min(request.tokens - request.computed, self.max_num_batched_tokens - sum(given.values()))
                blocks = kv.blocks_for(request.computed + tokens) - request.blocks
            while blocks > kv.free and request in self.running:
                self._preempt(self._victim(), given)
            if request not in self.running:
                # vLLM stops here: whoever stands behind a request that preempted itself sits this iteration out.
                self._skipped = [r for r in self.running if r not in given and r in decodes]
                for other in self._skipped:
                    decodes.remove(other)
                    other.blocks = kv.blocks_for(other.computed)
                break
            if request in decodes:
                kv.take(blocks)
            else:
                kv.extend(request, tokens)
            given[request] = tokens
        chunks = [(request, tokens) for request, tokens in given.items() if request not in decodes]
        for request, tokens in chunks:
            if request.computed + tokens == request.tokens:
                self._partial = None
        return Plan(chunks)

    def _victim(self) -> Request:
        if self.by_priority:
            return max(self.running, key=lambda request: (request.priority, request.arrival, request.index))
        return next(reversed(self.running))

    def _preempt(self, victim: Request, given: dict[Request, int]) -> None:
        """Take a victim's blocks and put it back into the queue, to compute its tokens again."""
        kv, tokens = self.kv, given.pop(victim, 0)
        if victim.finished_at >= 0:
            # An asynchronous engine doesn't know yet that it is done; vLLM takes its blocks, and then hears of it.
            del self.running[victim]
            kv.release(victim)
            return
        if victim in self.decodes:
            self.decodes.remove(victim)
            # vLLM counts a block as cached when it is scheduled, so a token given a moment ago counts.
            victim.computed += tokens
            victim.blocks = kv.blocks_for(victim.computed)
        if victim is self._partial:
            self._partial = None
        del self.running[victim]
        kv.release(victim, resumes=True)
        victim.preemptions += 1
        self.preempted += 1
        self.queue.push_front(victim)

    def promised(self, used: int) -> int:
        """Return the KV blocks that the rest of the unfinished prompt takes."""
        partial = self._partial
        return 0 if partial is None else self.kv.blocks_for(partial.tokens) - partial.blocks

    def adopt(self, request: Request) -> None:
        """Take in a request that decodes and holds its KV blocks here already; it goes before all that wait."""
        self.adopted.append(request)

    def withdraw(self, request: Request) -> None:
        """Take a decoding request out, which leaves with its KV, and forget it."""
        pause(self, request)
        del self.running[request]

    def _rejoin(self) -> None:
        for request in self._skipped:
            self.decodes.add(request)
        self._skipped = []
