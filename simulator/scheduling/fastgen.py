"""DeepSpeed-FastGen's dynamic split-fuse: every iteration of one size, filled with decodes and pieces of prompts."""

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Chunk, Plan, Scheduler
from simulator.scheduling.preemption import discard, pause
from simulator.scheduling.queues import ArrivalQueue
from simulator.scheduling.registry import scheduler

_STEADY = Plan(horizon=FOREVER, outlives_finishes=True)
_BLOCKED = Plan(horizon=FOREVER, arrivals_matter=False)


@scheduler("fastgen")
class FastGen(Scheduler):
    """Dynamic split-fuse: all decodes, then prompts by arrival, cut so that an iteration has a fixed number of tokens.

    ``max_num_seqs``: most requests running at once. ``max_num_batched_tokens``: the tokens of an iteration. Memory is
    taken piece by piece: a prompt goes on while the rest of it would fit. A decode that finds no block
    sits out, and goes first when there is one; nobody is preempted until nothing can run, and then everybody is.
    """

    source = (
        "Holmes et al., DeepSpeed-FastGen: High-throughput Text Generation for LLMs via MII and DeepSpeed-Inference, "
        "arXiv 2401.08671; memory as in its code (mii/batching/ragged_batching.py)"
    )

    def __init__(self, *, max_num_seqs: int = 512, max_num_batched_tokens: int = 768) -> None:
        if not 1 <= max_num_seqs <= max_num_batched_tokens:
            raise InputError(
                f"max_num_seqs is {max_num_seqs} and max_num_batched_tokens {max_num_batched_tokens}",
                hint="1 <= max_num_seqs <= max_num_batched_tokens, or a full batch could not decode",
            )
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.queue: ArrivalQueue = ArrivalQueue()
        self.running: dict[Request, None] = {}  # by arrival
        self._partial: Request | None = None  # the one whose prompt is begun
        self._sitting: list[Request] = []  # each needs a block for its next token, the longest there first

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def finished(self, request: Request) -> None:
        """Drop a request that made its last token."""
        self.running.pop(request, None)

    def plan(self) -> Plan:
        """Let everyone decode that finds memory, and fill the iteration up with prompts."""
        self._let_decode()
        chunks = self._prompts()
        if chunks:
            more = self.queue or self._partial or self._sitting
            return Plan(chunks) if more else Plan(chunks, FOREVER, outlives_finishes=True)
        if self.decodes:
            return _BLOCKED if self.queue or self._partial or self._sitting else _STEADY
        if not self.running or any(request.finished_at >= 0 for request in self.running):
            return Plan()  # nobody is there, or memory that an asynchronous engine doesn't know of yet is coming back
        self._start_over()
        return Plan(self._prompts())

    def _let_decode(self) -> None:
        """Hand out blocks, to those who sit first; who finds none sits out."""
        kv, decodes, sitting = self.kv, self.decodes, self._sitting
        if not sitting and decodes.blocks_next() <= kv.free:
            kv.take(decodes.blocks_next())
            return
        crossing = [request for request in decodes if decodes.crosses(request)]
        back, free = sitting[: kv.free], kv.free - len(sitting[: kv.free])
        for request in back:
            decodes.add(request)
        self._sitting = sitting[len(back) :] + crossing[free:]
        for request in crossing[free:]:
            pause(self, request)
        kv.take(decodes.blocks_next())

    def _prompts(self) -> list[Chunk]:
        """Return pieces of prompts, by arrival, that fill the iteration, as far as memory and slots go."""
        kv, queue, running = self.kv, self.queue, self.running
        budget = self.max_num_batched_tokens - len(self.decodes)
        chunks: list[Chunk] = []
        if (request := self._partial) is not None:
            if budget <= 0 or kv.blocks_for(request.tokens) - request.blocks > kv.free:
                return chunks
            budget = self._piece(chunks, request, budget)
        while queue and budget > 0 and len(running) < self.max_num_seqs and kv.can_admit(queue.peek()):
            request = queue.pop()
            kv.admit(request)
            running[request] = None
            budget = self._piece(chunks, request, budget)
        return chunks

    def _piece(self, chunks: list[Chunk], request: Request, budget: int) -> int:
        """Add as much of a prompt as there is room for; return the room left."""
        tokens = min(request.tokens - request.computed, budget)
        self.kv.extend(request, tokens)
        chunks.append((request, tokens))
        self._partial = request if request.computed + tokens < request.tokens else None
        return budget - tokens

    def _start_over(self) -> None:
        """Take everybody's memory and queue them, to compute all their tokens again."""
        for request in reversed(list(self.running)):
            discard(self, request)
            self.queue.push_front(request)
        self.running.clear()
        self._sitting.clear()
        self._partial = None
