"""vLLM V1: mixed batches of decodes and prompt chunks under a token budget.

``tokenyard validate schedules`` repeats recorded decisions of the real one step by step.
"""

from typing import Literal

from simulator.core import InputError
from simulator.scheduling.mixed_batches import MixedBatches
from simulator.scheduling.registry import scheduler


@scheduler("vllm")
class VLLM(MixedBatches):
    """vLLM V1: decodes first, then prompt chunks in order of arrival (or priority); preempts by recompute.

    ``max_num_seqs``: most requests running at once. ``max_num_batched_tokens``: most tokens an iteration computes.
    ``policy``: ``fcfs``, or ``priority`` (lower ``priority`` first, ties by arrival).
    """

    source = "vLLM 0.32.0, vllm/v1/core/sched/scheduler.py"
    adopts = True

    def __init__(
        self,
        *,
        max_num_seqs: int = 1024,
        max_num_batched_tokens: int = 8192,
        policy: Literal["fcfs", "priority"] = "fcfs",
    ) -> None:
        if not 1 <= max_num_seqs <= max_num_batched_tokens:
            raise InputError(
                f"max_num_seqs is {max_num_seqs} and max_num_batched_tokens {max_num_batched_tokens}",
                hint="vLLM needs 1 <= max_num_seqs <= max_num_batched_tokens",
            )
        super().__init__(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            by_priority=policy == "priority",
        )
