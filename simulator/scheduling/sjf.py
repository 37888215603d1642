"""Shortest job first."""

from simulator.core import Request
from simulator.scheduling.predictors import PredictorChoice, make_predictor
from simulator.scheduling.rank_heap import Rank
from simulator.scheduling.ranked import Ranked
from simulator.scheduling.registry import scheduler


@scheduler("sjf")
class SJF(Ranked):
    """Of those that wait, the one with the shortest predicted output starts next; who runs goes on to its end.

    ``predictor``: of output lengths, a kind or a mapping with its parameters. ``max_num_seqs``: most requests running
    at once. ``max_num_batched_tokens``: most tokens an iteration computes.
    """

    source = (
        "Qiu et al., Efficient Interactive LLM Serving with Proxy Model-based Sequence Length Prediction, AIOps 2024"
    )
    starves = True
    preemptive = False
    evicts = False

    def __init__(
        self,
        *,
        max_num_seqs: int = 256,
        max_num_batched_tokens: int = 8192,
        predictor: PredictorChoice = "oracle",
    ) -> None:
        super().__init__(max_num_seqs, max_num_batched_tokens)
        self.predictor = make_predictor(predictor)

    def rank(self, request: Request) -> Rank:
        """Return the predicted output, then time of arrival."""
        return (self.predictor.predict(request, request.generated), request.arrival, request.index)

    def left(self, request: Request) -> None:
        """Let the predictor learn."""
        self.predictor.learn(request)
