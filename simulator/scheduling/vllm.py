"""vLLM V1: mixed batches of decodes and prompt chunks under a token budget.

``tokenyard validate schedules`` repeats recorded decisions of the real one step by step.
"""

from collections.abc import Mapping
from typing import Any, Literal

from simulator.core import InputError
from simulator.scheduling.mixed_batches import MixedBatches
from simulator.scheduling.registry import scheduler

REQUESTS, TOKENS = 1024, 8192


@scheduler("vllm")
class VLLM(MixedBatches):
    """vLLM V1: decodes first, then prompt chunks in order of arrival (or priority); preempts by recompute.

    ``max_num_seqs``: most requests running at once. ``max_num_batched_tokens``: most tokens an iteration computes. An
    instance of vLLM takes for both what vLLM does on its GPU (``experiment/iteration_limits.py``). ``policy``:
    ``fcfs``, or ``priority`` (lower ``priority`` first, ties by arrival).
    """

    source = "vLLM 0.32.0, vllm/v1/core/sched/scheduler.py"
    adopts = True

    def __init__(
        self,
        *,
        max_num_seqs: int = REQUESTS,
        max_num_batched_tokens: int = TOKENS,
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


def with_limits(params: Mapping[str, Any], requests: int = REQUESTS, tokens: int = TOKENS) -> dict[str, Any]:
    """Return the policy's parameters with both limits: those given, else these, fitted to the one that was given.

    As vLLM does, the requests are lowered to the tokens asked for. Tokens are raised to the requests asked for, where
    vLLM would not start.
    """
    given = dict(params)
    given.setdefault("max_num_seqs", min(requests, given.get("max_num_batched_tokens", requests)))
    given.setdefault("max_num_batched_tokens", max(tokens, given["max_num_seqs"]))
    return given
