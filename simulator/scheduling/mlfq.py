"""Multi-level feedback queues: who has run for long goes behind those who have not."""

from simulator.core import InputError, Request, to_ps
from simulator.core.quantity import Duration
from simulator.engine.scheduler import FOREVER
from simulator.scheduling.rank_heap import Rank
from simulator.scheduling.ranked import Ranked
from simulator.scheduling.registry import scheduler

_BEFORE_ALL = float("-inf")


@scheduler("mlfq")
class MLFQ(Ranked):
    """Multi-level feedback queues by service time: newcomers in the highest, one queue lower after each quantum.

    Queue n has a quantum of ``quantum`` x ``growth``^n; in a queue, first come first served, and who leaves the batch
    goes to the front. A prompt uses up no more than its quantum, however long it takes; time beyond a quantum in
    decoding counts in the next. Who runs gives way only to a higher queue. ``max_num_seqs``: most requests running at
    once. ``max_num_batched_tokens``: most prompt tokens an iteration computes; a longer prompt goes by itself.
    """

    source = "naive MLFQ of Wu et al., Fast Distributed Inference Serving for Large Language Models, arXiv 2305.05920"
    starves = True
    whole_prompts = True

    def __init__(
        self,
        *,
        max_num_seqs: int = 256,
        max_num_batched_tokens: int = 8192,
        quantum: Duration = 0.01,
        growth: int = 2,
    ) -> None:
        super().__init__(max_num_seqs, max_num_batched_tokens)
        if growth < 2:
            raise InputError(f"growth is {growth}", hint="how many times longer each queue's quantum is: at least 2")
        self.quantum = max(to_ps(quantum), 1)
        self.growth = growth
        # Quanta add up: who entered at queue n and was served for t stands in queue m of
        # quantum growth^m <= quantum growth^n + (growth - 1) t < quantum growth^(m+1). This sum is its *age*.
        self._age: dict[Request, int] = {}  # of those that wait
        self._born: dict[Request, int] = {}  # of those that run: (growth - 1) now - age, which stands still
        self._begun: list[tuple[Request, int]] = []  # whose prompts the last plan began, and when
        self._arrivals = 0
        self._returns = 0

    def first_queue(self, request: Request) -> int:
        """Return which queue a newcomer joins."""
        return 0

    def level(self, age: int) -> int:
        """Return the queue of an age."""
        quanta, level = age // self.quantum, 0
        while quanta >= self.growth:
            quanta //= self.growth
            level += 1
        return level

    def quantum_of(self, level: int) -> int:
        """Return a queue's quantum (ps)."""
        return self.quantum * int(self.growth**level)

    def rank(self, request: Request) -> Rank:
        """Return the queue, and the place in it: newcomers last, who comes back first."""
        if request.admitted_at < 0 and request.preemptions == 0:
            self._arrivals += 1
            return (self.level(self._age[request]), self._arrivals)
        self._returns -= 1
        return (self.level(self._age[request]), self._returns)

    def running_rank(self, request: Request) -> Rank:
        """Return the queue, before all that wait in it."""
        return (self.level(self.now * (self.growth - 1) - self._born[request]), _BEFORE_ALL)

    def standing(self, request: Request) -> Rank:
        """Return what orders by age, which all that run gain alike."""
        return (self._born[request],)

    def waits(self, request: Request) -> None:
        """Note how old a request is, or let a newcomer be born."""
        born = self._born.pop(request, None)
        if born is not None:
            self._age[request] = self.now * (self.growth - 1) - born
        elif request not in self._age:
            self._age[request] = self.quantum_of(self.first_queue(request))

    def begins(self, request: Request) -> None:
        """Let a request grow older."""
        self._born[request] = self.now * (self.growth - 1) - self._age.pop(request)
        if not request.generated:
            self._begun.append((request, self.now))

    def refresh(self) -> None:
        """Count a prompt as one quantum at most."""
        for request, when in self._begun:
            if request in self.running and request.first_token_at >= 0:
                pace = self.growth - 1
                age = when * pace - self._born[request]
                whole = self.quantum_of(self.level(age) + 1)
                age = min(age + (request.first_token_at - when) * pace, whole)
                self._born[request] = request.first_token_at * pace - age
                self._worst.put(request, self.standing(request))
        self._begun.clear()

    def until(self) -> int:
        """Return when the next of those that run falls below the queue of the first that waits."""
        waiting, oldest = self.queue.first(), self._worst.first()
        if waiting is None or oldest is None:
            return FOREVER
        pace = self.growth - 1
        limit = self.quantum_of(int(self.queue.rank(waiting)[0]) + 1)
        born = self._born[oldest]
        if self.now * pace - born >= limit:
            # It is below already, and stays because there is no memory: somebody else's may be enough.
            younger = [b for r in self.running if self.now * pace - (b := self._born[r]) < limit]
            if not younger:
                return FOREVER
            born = min(younger)
        return -(-(limit + born) // pace)

    def left(self, request: Request) -> None:
        """Forget a request."""
        self._age.pop(request, None)
        self._born.pop(request, None)
