"""Learning to rank: shortest output first by a ranker's score, with a guard against starvation."""

from collections import deque
from heapq import heappop, heappush

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER
from simulator.scheduling.predictors import PredictorChoice, make_predictor
from simulator.scheduling.rank_heap import Rank
from simulator.scheduling.ranked import Ranked
from simulator.scheduling.registry import scheduler


@scheduler("ltr")
class LearningToRank(Ranked):
    """Requests run in the order of a score given on arrival, those ranked behind give slot and memory.

    Who sat out ``patience`` iterations goes before all others until it took part in ``turns``. ``predictor``: what the
    score orders by (only its order counts); ``{kind: rank, tau: ...}`` is a ranker of known quality. ``max_num_seqs``:
    most requests running at once. ``max_num_batched_tokens``: most tokens an iteration computes.
    """

    source = "Fu et al., Efficient LLM Scheduling by Learning to Rank, NeurIPS 2024; hao-ai-lab/vllm-ltr, scheduler.py"
    starves = True  # of those that waited for long, the shorter ones go first again

    def __init__(
        self,
        *,
        max_num_seqs: int = 256,
        max_num_batched_tokens: int = 8192,
        predictor: PredictorChoice = "oracle",
        patience: int = 200,
        turns: int = 10,
    ) -> None:
        super().__init__(max_num_seqs, max_num_batched_tokens)
        if patience < 1 or turns < 1:
            raise InputError(f"patience is {patience} and turns {turns}", hint="iterations, at least 1 each")
        self.predictor = make_predictor(predictor)
        self.patience = patience
        self.turns = turns
        self._score: dict[Request, float] = {}
        self._turns: dict[Request, int] = {}  # of those that go first: turns left, when they last began to run
        self._new: list[Request] = []  # those that came since the last decision
        self._since: dict[Request, int] = {}  # the iteration in which one that waits began to
        self._began: dict[Request, int] = {}  # the iteration in which one that runs began to
        self._waiting: deque[tuple[int, Request]] = deque()
        self._served: list[tuple[int, Request]] = []  # when those that run first will have had their turns

    def rank(self, request: Request) -> Rank:
        """Return whether it goes first, then its score."""
        return (-(request in self._turns), self._score[request], request.arrival, request.index)

    def waits(self, request: Request) -> None:
        """Score a newcomer; begin to count the iterations without any other."""
        if request not in self._score:
            self._score[request] = self.predictor.predict(request)
            # It counts from the first decision with it: on a boundary it may come before or after an iteration ends.
            self._new.append(request)
            return
        iteration = self._since[request] = self.decodes.iteration
        self._waiting.append((iteration, request))
        began = self._began.pop(request, None)
        if began is not None and request in self._turns:
            self._turns[request] -= iteration - began
            if self._turns[request] <= 0:
                del self._turns[request]

    def begins(self, request: Request) -> None:
        """Count its turns, if it goes first; a prompt that takes several iterations is one of them."""
        del self._since[request]
        if request in self._partial:
            return  # else others could go first before it made a token, over and over
        iteration = self._began[request] = self.decodes.iteration
        if request in self._turns:
            heappush(self._served, (iteration + self._turns[request], request))

    def refresh(self) -> None:
        """Let those that waited for long go first, and those that had their turns no more."""
        iteration = self.decodes.iteration
        for request in self._new:
            if request in self._score:
                self._since[request] = iteration
                self._waiting.append((iteration, request))
        self._new.clear()
        while self._served and self._served[0][0] <= iteration:
            end, request = heappop(self._served)
            if self._over(request) == end:
                del self._turns[request]
                self._worst.put(request, self.standing(request))
        while self._waiting and self._waiting[0][0] + self.patience <= iteration:
            since, request = self._waiting.popleft()
            if self._since.get(request) == since and request not in self._turns:
                self._turns[request] = self.turns
                self.queue.put(request, self.rank(request))
                if request in self._kept:
                    self._keep(request)

    def _over(self, request: Request) -> int:
        """Return the iteration in which a request that runs first has had its turns; -1 for any other."""
        if request not in self._began or request not in self._turns:
            return -1
        return self._began[request] + self._turns[request]

    def horizon(self) -> int:
        """Return when the next one has waited for long, or had its turns."""
        iteration, soonest = self.decodes.iteration, FOREVER
        while self._waiting and self._is_past(*self._waiting[0]):
            self._waiting.popleft()
        while self._served and self._over(self._served[0][1]) != self._served[0][0]:
            heappop(self._served)
        if self._waiting:
            soonest = self._waiting[0][0] + self.patience - iteration
        if self._served:
            soonest = min(soonest, self._served[0][0] - iteration)
        return soonest

    def _is_past(self, since: int, request: Request) -> bool:
        return self._since.get(request) != since or request in self._turns

    def left(self, request: Request) -> None:
        """Forget a request; let the predictor learn."""
        for notes in (self._score, self._turns, self._since, self._began):
            notes.pop(request, None)
        self.predictor.learn(request)
