"""First come, first served, with whole prompts."""

from simulator.core import Request
from simulator.scheduling.rank_heap import Rank
from simulator.scheduling.ranked import Ranked
from simulator.scheduling.registry import scheduler


@scheduler("fcfs")
class FCFS(Ranked):
    """First come, first served: whole prompts beside the decodes, nobody overtakes, the last to come gives memory.

    It differs from ``vllm`` in that prompts are never cut: a long one makes one long iteration for all that decode.
    ``max_num_seqs``: most requests running at once. ``max_num_batched_tokens``: most prompt tokens an iteration
    computes, decodes not counted; a longer prompt goes by itself.
    """

    source = "Yu et al., Orca: A Distributed Serving System for Transformer-Based Generative Models, OSDI 2022, 4.2"
    preemptive = False
    evicts = False
    whole_prompts = True

    def __init__(self, *, max_num_seqs: int = 256, max_num_batched_tokens: int = 8192) -> None:
        super().__init__(max_num_seqs, max_num_batched_tokens)

    def rank(self, request: Request) -> Rank:
        """Return the time of arrival."""
        return (request.arrival, request.index)

    def newcomers_matter(self) -> bool:
        """Return False: they queue behind those that wait."""
        return False
