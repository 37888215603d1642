"""TRAIL: shortest predicted remaining output, refined with every token, with preemption only early on."""

from heapq import heappop, heappush
from math import ceil, floor, sqrt

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER
from simulator.scheduling.predictors import PredictorChoice, make_predictor
from simulator.scheduling.rank_heap import Rank
from simulator.scheduling.ranked import Ranked
from simulator.scheduling.registry import scheduler


@scheduler("trail")
class TRAIL(Ranked):
    """The fewest predicted tokens left run first; one may be preempted while it made fewer than floor(c x predicted).

    The first prediction (of the whole output) is the ``predictor``'s. Every token is another look, as wrong as the
    first one and independent of it, and the estimate is their mean: its error falls with the square root of the looks.
    It is said as the middle of one of ``bins`` equal bins over 0 to ``longest`` tokens left. ``c`` = 1 lets shorter
    requests preempt nearly always, 0 never. ``max_num_seqs``: most requests running at once.
    ``max_num_batched_tokens``: most tokens an iteration computes.
    """

    source = "Shahout et al., Don't Stop Me Now: Embedding Based Scheduling for LLMs, arXiv 2410.01035"
    starves = True

    def __init__(
        self,
        *,
        max_num_seqs: int = 256,
        max_num_batched_tokens: int = 8192,
        predictor: PredictorChoice = "oracle",
        c: float = 1.0,
        bins: int = 10,
        longest: int = 512,
    ) -> None:
        super().__init__(max_num_seqs, max_num_batched_tokens)
        if not 0 <= c <= 1 or not 1 <= bins <= longest:
            raise InputError(f"c is {c}, bins {bins} and longest {longest}", hint="0 <= c <= 1, 1 <= bins <= longest")
        self.predictor = make_predictor(predictor)
        self.c = c
        self._width = longest / bins
        self._last = bins - 1
        self._error: dict[Request, float] = {}  # of the first look, in tokens
        self._locked: dict[Request, int] = {}  # how many tokens a request has made when it is preempted no more
        self._news: list[tuple[int, Request]] = []  # in which iteration the rank of one that runs changes

    def rank(self, request: Request) -> Rank:
        """Return the bin of the tokens left, for one that may be preempted or waits; others go before all."""
        made = self.made(request)
        if request in self.running and made >= self._locked[request]:
            return (-1, request.arrival, request.index)
        return (self._bin(request, made), request.arrival, request.index)

    def _bin(self, request: Request, made: int) -> int:
        left = request.output_tokens - made + self._error[request] / sqrt(1 + made)
        return min(max(int(left // self._width), 0), self._last)

    def waits(self, request: Request) -> None:
        """Predict a newcomer's output."""
        if request not in self._error:
            first = self.predictor.predict(request)
            self._error[request] = first - request.output_tokens
            self._locked[request] = floor(self.c * first)

    def begins(self, request: Request) -> None:
        """Note when its rank changes."""
        self._look_ahead(request, request.generated)

    def _look_ahead(self, request: Request, made: int) -> None:
        """Note in which iteration a request that runs will be told into another bin, or is preempted no more."""
        locked = self._locked[request]
        if made >= locked:
            return
        bin_, later = self._bin(request, made), made + 1
        while later < locked and self._bin(request, later) == bin_:
            # Without an error nothing happens before the bin's edge.
            later += 1 if self._error[request] else max(ceil(self._to_edge(request, later)), 1)
        later = min(later, locked)
        heappush(self._news, (self.decodes.iteration + later - made, request))

    def _to_edge(self, request: Request, made: int) -> float:
        return (request.output_tokens - made) % self._width or 1

    def refresh(self) -> None:
        """Rank those anew whose estimate moved to another bin, or that are preempted no more."""
        iteration = self.decodes.iteration
        while self._news and self._news[0][0] <= iteration:
            _, request = heappop(self._news)
            if request in self.decodes:
                self._worst.put(request, self.standing(request))
                self._look_ahead(request, self.made(request))

    def horizon(self) -> int:
        """Return when the next rank changes."""
        return self._news[0][0] - self.decodes.iteration if self._news else FOREVER

    def left(self, request: Request) -> None:
        """Forget a request; let the predictor learn."""
        del self._error[request], self._locked[request]
        self.predictor.learn(request)
