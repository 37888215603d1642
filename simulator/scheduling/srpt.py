"""Shortest remaining processing time."""

from simulator.core import Request
from simulator.scheduling.predictors import PredictorChoice, make_predictor
from simulator.scheduling.rank_heap import Rank
from simulator.scheduling.ranked import Ranked
from simulator.scheduling.registry import scheduler


@scheduler("srpt")
class SRPT(Ranked):
    """Whoever has the fewest predicted output tokens left runs, in place of those with more.

    ``predictor``: of output lengths, a kind or a mapping with its parameters; one that made more than was predicted
    counts as nearly done. ``max_num_seqs``: most requests running at once. ``max_num_batched_tokens``: most tokens an
    iteration computes.
    """

    source = "Schrage and Miller, The Queue M/G/1 with the Shortest Remaining Processing Time Discipline, 1966"
    starves = True

    def __init__(
        self,
        *,
        max_num_seqs: int = 256,
        max_num_batched_tokens: int = 8192,
        predictor: PredictorChoice = "oracle",
    ) -> None:
        super().__init__(max_num_seqs, max_num_batched_tokens)
        self.predictor = make_predictor(predictor)
        self._predicted: dict[Request, float] = {}

    def rank(self, request: Request) -> Rank:
        """Return the tokens left by the prediction made when the request came."""
        return (self._predicted[request] - self.made(request), request.arrival, request.index)

    def standing(self, request: Request) -> Rank:
        """Return what all that run lose alike with every iteration."""
        left, *ties = self.rank(request)
        return (-left - self.decodes.iteration, *(-tie for tie in ties))

    def waits(self, request: Request) -> None:
        """Predict a newcomer's output."""
        if request not in self._predicted:
            self._predicted[request] = self.predictor.predict(request)

    def left(self, request: Request) -> None:
        """Let the predictor learn."""
        del self._predicted[request]
        self.predictor.learn(request)
