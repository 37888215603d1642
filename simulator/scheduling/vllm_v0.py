"""vLLM as its paper describes it (V0): prompts go first and alone; memory is taken back from the last to come."""

from collections import deque
from typing import Literal

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Chunk, Extras, Plan, Scheduler
from simulator.scheduling.preemption import discard, pause, swap_out
from simulator.scheduling.queues import ArrivalQueue
from simulator.scheduling.registry import scheduler

_STEADY = Plan(horizon=FOREVER, outlives_finishes=True)
_BLOCKED = Plan(horizon=FOREVER, arrivals_matter=False)
_ALONE = Extras(decodes_wait=True)


@scheduler("vllm_v0")
class VLLMV0(Scheduler):
    """vLLM V0: whole prompts in iterations of their own, before any decode; preempts the last to come.

    ``max_num_seqs``: most requests running at once. ``max_num_batched_tokens``: most prompt tokens an iteration
    computes; longer prompts fail. ``watermark``: share of the KV blocks that stays free when a prompt is admitted.
    ``preemption``: ``recompute`` the victim's tokens, or ``swap`` its KV blocks to the host's memory, as far as it has
    room, and back before any new prompt.
    """

    source = "Kwon et al., Efficient Memory Management for LLM Serving with PagedAttention, SOSP 2023, 4.3 and 4.5"
    adopts = True

    def __init__(
        self,
        *,
        max_num_seqs: int = 256,
        max_num_batched_tokens: int = 8192,
        watermark: float = 0.01,
        preemption: Literal["recompute", "swap"] = "recompute",
    ) -> None:
        if not 1 <= max_num_seqs <= max_num_batched_tokens:
            raise InputError(
                f"max_num_seqs is {max_num_seqs} and max_num_batched_tokens {max_num_batched_tokens}",
                hint="1 <= max_num_seqs <= max_num_batched_tokens",
            )
        if not 0 <= watermark < 1:
            raise InputError(f"watermark is {watermark}", hint="a share of the KV blocks: at least 0, less than 1")
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = self.longest_prompt = max_num_batched_tokens
        self.watermark = watermark
        self.swaps = preemption == "swap"
        self.queue: ArrivalQueue = ArrivalQueue()
        self.running: dict[Request, None] = {}  # by arrival
        self._swapped: list[Request] = []  # by arrival
        self.adopted: deque[Request] = deque()

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def finished(self, request: Request) -> None:
        """Drop a request that made its last token."""
        self.running.pop(request, None)

    def plan(self) -> Plan:
        """Run prompts that fit, alone; else let everyone decode that memory is enough for."""
        if self.adopted:
            self._take_in()
        if self.queue and not (self._swapped or self.adopted) and (chunks := self._prompts()):
            more = bool(self.queue)
            return Plan(chunks, 1 if more else FOREVER, True, not more, extras=_ALONE)
        kv, decodes = self.kv, self.decodes
        moved = 0
        if decodes.blocks_next() > kv.free:
            moved = self._make_room()
        elif self._swapped:
            moved = self._swap_in()
        kv.take(decodes.blocks_next())
        if moved:
            return Plan(extras=Extras(moved=moved))
        if self.preempted and (self._swapped or self.adopted):
            return Plan()  # whose memory may be enough for one of them
        # A swapped or adopted request waits for memory (or a slot), and only a finish frees any.
        if self._swapped or self.adopted:
            return Plan(horizon=FOREVER, arrivals_matter=False)
        return _BLOCKED if self.queue else _STEADY

    def adopt(self, request: Request) -> None:
        """Take in a request that decodes and holds its KV blocks here already; it goes before all that wait."""
        self.adopted.append(request)

    def withdraw(self, request: Request) -> None:
        """Take a decoding request out, which leaves with its KV, and forget it."""
        pause(self, request)
        del self.running[request]

    def _take_in(self) -> None:
        """Let adopted requests decode as slots allow; one that has no room to grow and is alone is computed again."""
        kv, running, came = self.kv, self.running, False
        while self.adopted and len(running) < self.max_num_seqs:
            request = self.adopted[0]
            if kv.blocks_for(request.computed + 1) - request.blocks <= kv.free - self.decodes.blocks_next():
                self.decodes.add(request)
                running[request] = None
                came = True
            elif running:
                break
            else:
                discard(self, request)
                self.queue.push_front(request)
            self.adopted.popleft()
        if came:
            self.running = dict.fromkeys(sorted(running, key=lambda request: (request.arrival, request.index)))

    def _prompts(self) -> list[Chunk]:
        """Admit waiting requests in order of arrival until one finds no room; return their prompts."""
        kv, queue, running = self.kv, self.queue, self.running
        spare = int(self.watermark * kv.total)
        budget = self.max_num_batched_tokens
        chunks: list[Chunk] = []
        while queue and len(running) < self.max_num_seqs:
            request = queue.peek()
            blocks = kv.blocks_for(request.tokens)
            # Whoever is alone needs no room for the growth of others, and may be longer when computed again.
            if running and (blocks + spare > kv.free or request.tokens > budget):
                break
            if not kv.can_admit(request):
                break
            queue.pop()
            kv.admit(request)
            tokens = request.tokens - request.computed
            kv.extend(request, tokens)
            running[request] = None
            chunks.append((request, tokens))
            budget -= request.tokens
        return chunks

    def _make_room(self) -> int:
        """Preempt the last to come until everyone left can decode; return the KV tokens swapped."""
        kv, decodes, running, moved = self.kv, self.decodes, self.running, 0
        # Who is done, of which an asynchronous engine doesn't know yet, goes before those that need the memory.
        ended = [request for request in running if request.finished_at >= 0]
        while decodes.blocks_next() > kv.free:
            victim = ended.pop() if ended else next(reversed(running))
            del running[victim]
            if victim in decodes:
                pause(self, victim)
            if self.swaps and victim.finished_at < 0 and self.host.can_take(victim):
                moved += swap_out(self, victim)
                self._swapped.insert(0, victim)
            elif discard(self, victim):
                self.queue.push_front(victim)
        return moved

    def _swap_in(self) -> int:
        """Let swapped requests go on, by arrival, as far as there is room; return the KV tokens moved."""
        kv, decodes, moved = self.kv, self.decodes, 0
        spare = int(self.watermark * kv.total) if self.running else 0
        while self._swapped and len(self.running) < self.max_num_seqs:
            request = self._swapped[0]
            # Its own next token may open a block, as may those of all that decode.
            if kv.blocks_for(request.computed + 1) + decodes.blocks_next() + spare > kv.free:
                break
            moved += self.host.swap_in(self._swapped.pop(0))
            self.running[request] = None
            decodes.add(request)
        return moved
