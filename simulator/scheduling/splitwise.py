"""Splitwise's machine-level scheduler: prompts first and whole, outputs with what the batch has left."""

from collections import deque

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Chunk, Plan, Scheduler
from simulator.scheduling.adoption import take_in
from simulator.scheduling.make_room import discard_last
from simulator.scheduling.preemption import pause
from simulator.scheduling.queues import ArrivalQueue
from simulator.scheduling.registry import scheduler


@scheduler("splitwise")
class SplitwiseMachine(Scheduler):
    """Splitwise's machine level: whole prompts in order of arrival, and next tokens up to the size of the batch.

    ``max_num_batched_tokens``: prompt tokens and next tokens an iteration computes, but for a longer prompt by itself.
    ``max_num_seqs``: most requests in an iteration. Next tokens that prompts leave no room for sit the iteration out; a
    request that did so ``max_preemptions`` times or more goes before the next prompts. Where memory runs out, whoever
    came last is computed again.
    """

    source = "Patel et al., Splitwise: Efficient Generative LLM Inference Using Phase Splitting, ISCA 2024, 4.2"
    adopts = True

    def __init__(
        self, *, max_num_seqs: int = 512, max_num_batched_tokens: int = 2048, max_preemptions: int = 4
    ) -> None:
        if max_num_seqs < 1 or max_num_batched_tokens < 1 or max_preemptions < 0:
            raise InputError(
                f"max_num_seqs is {max_num_seqs}, max_num_batched_tokens {max_num_batched_tokens} and max_preemptions "
                f"{max_preemptions}",
                hint="1, 1 and 0 or more",
            )
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.max_preemptions = max_preemptions
        self.queue: ArrivalQueue = ArrivalQueue()
        self.running: dict[Request, None] = {}  # in order of arrival here
        self.adopted: deque[Request] = deque()
        self._sat_out: dict[Request, int] = {}  # how often, of those that run
        self._sitting: list[Request] = []

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def finished(self, request: Request) -> None:
        """Drop a request that made its last token."""
        self.running.pop(request, None)
        self._sat_out.pop(request, None)

    def adopt(self, request: Request) -> None:
        """Take in a request that decodes and holds its KV blocks here already."""
        self.adopted.append(request)

    def withdraw(self, request: Request) -> None:
        """Take a decoding request out, which leaves with its KV, and forget it."""
        pause(self, request)
        self.finished(request)

    def plan(self) -> Plan:
        """Run the prompts that fit, and with them as many next tokens as there is room for."""
        kv, decodes, queue = self.kv, self.decodes, self.queue
        for request in self._sitting:
            decodes.add(request)
        owed = {request for request in self._sitting if self._sat_out[request] >= self.max_preemptions}
        self._sitting.clear()
        if self.adopted:
            take_in(self, self.adopted, self.running, queue, self.max_num_seqs)
        preempted = self.preempted
        discard_last(self, self.running, queue)
        chunks: list[Chunk] = []
        # No prompt takes the memory that others just had to give, and what decodes now keeps room for its next token.
        if queue and self.preempted == preempted:
            chunks = self._prompts(kv.free - decodes.blocks_next(), len(owed))
        room = self.max_num_batched_tokens - sum(tokens for _, tokens in chunks)
        if chunks and len(decodes) > room:
            self._sit_out(max(room, 0), owed)
        kv.take(decodes.blocks_next())
        # Who was owed an iteration kept prompts out of this one alone.
        if self.preempted != preempted or owed or (chunks and (queue or self.adopted or self._sitting)):
            return Plan(chunks)
        waits = bool(queue or self.adopted)
        return Plan(chunks, FOREVER, arrivals_matter=not queue, outlives_finishes=not waits)

    def _prompts(self, free: int, owed: int) -> list[Chunk]:
        """Admit waiting requests in order of arrival until one finds no room; return their prompts."""
        kv, queue, running = self.kv, self.queue, self.running
        budget, chunks = self.max_num_batched_tokens - owed, list[Chunk]()
        while queue and len(running) < self.max_num_seqs:
            request = queue.peek()
            if (chunks or owed) and request.tokens > budget:
                break
            before = kv.free
            if kv.blocks_for(request.tokens) > free or not kv.can_admit(request):
                break
            queue.pop()
            kv.admit(request)
            tokens = request.tokens - request.computed
            kv.extend(request, tokens)
            free -= before - kv.free
            running[request] = None
            chunks.append((request, tokens))
            budget -= tokens
        return chunks

    def _sit_out(self, room: int, owed: set[Request]) -> None:
        """Let all decodes but so many sit this iteration out; those that sat out the last one too often stay."""
        patient = [request for request in self.decodes if request not in owed]
        for request in patient[max(room - len(owed), 0) :]:
            pause(self, request)
            self._sat_out[request] = self._sat_out.get(request, 0) + 1
            self._sitting.append(request)
