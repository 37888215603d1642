"""Strict priorities."""

from simulator.core import Request
from simulator.scheduling.rank_heap import Rank
from simulator.scheduling.ranked import Ranked
from simulator.scheduling.registry import scheduler


@scheduler("priority")
class Priority(Ranked):
    """The most urgent requests run (lower ``priority`` first), ties by arrival; prompts are cut to the token budget.

    ``preempt``: whether an urgent newcomer takes slot and memory of those less urgent; without it, it waits for a
    finish. ``max_num_seqs``: most requests running at once. ``max_num_batched_tokens``: most tokens an iteration
    computes.
    """

    source = "Kleinrock, Queueing Systems, volume 2, 1976, chapter 3: head-of-the-line and preemptive resume"
    starves = True

    def __init__(self, *, max_num_seqs: int = 256, max_num_batched_tokens: int = 8192, preempt: bool = True) -> None:
        super().__init__(max_num_seqs, max_num_batched_tokens)
        self.preemptive = self.evicts = preempt

    def rank(self, request: Request) -> Rank:
        """Return priority, then time of arrival."""
        return (request.priority, request.arrival, request.index)
