"""TetriInfer's prefill instances: chunks of one size, prompts in an order of their own."""

from collections import deque
from collections.abc import Iterator
from typing import Literal

from simulator.core import InputError, Request
from simulator.scheduling.registry import scheduler
from simulator.scheduling.vllm import VLLM

Order = Literal["fcfs", "sjf", "ljf"]


class SortedBatches:
    """Requests in batches of so many as they came, each by prompt length: shortest or longest first, or as they came.

    A batch is what waits when the one before is used up, so nobody waits for more than one batch behind the one he is
    in.
    """

    def __init__(self, order: Order, batch: int) -> None:
        self._sign = {"fcfs": 0, "sjf": 1, "ljf": -1}[order]
        self._batch = batch
        self._now: deque[Request] = deque()
        self._later: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._now) + len(self._later)

    def __iter__(self) -> Iterator[Request]:
        yield from self._now
        yield from self._later

    def push(self, request: Request) -> None:
        """Add a request that arrived."""
        self._later.append(request)

    def push_front(self, request: Request) -> None:
        """Add a request that was running already, or was looked at in vain."""
        self._now.appendleft(request)

    def peek(self) -> Request:
        """Return the next request without taking it; IndexError when empty."""
        self._fill()
        return self._now[0]

    def pop(self) -> Request:
        """Take the next request; IndexError when empty."""
        self._fill()
        return self._now.popleft()

    def _fill(self) -> None:
        if not self._now:
            batch = [self._later.popleft() for _ in range(min(self._batch, len(self._later)))]
            self._now.extend(sorted(batch, key=lambda request: self._sign * request.prompt_tokens))


@scheduler("tetriinfer")
class TetriInferPrefill(VLLM):
    """TetriInfer's prefill: chunks of ``max_num_batched_tokens``, filled with slices of consecutive prompts.

    The order is that of arrival (``fcfs``), shortest or longest prompt first within ``sched_batch`` requests (``sjf``,
    ``ljf``); who began goes on. Decodes, if it is given any, come before chunks as in vLLM.
    """

    source = (
        "Hu et al., Inference without Interference: Disaggregate LLM Inference for Mixed Downstream Workloads, 2024"
    )

    def __init__(
        self,
        *,
        max_num_seqs: int = 256,
        max_num_batched_tokens: int = 512,
        order: Order = "sjf",
        sched_batch: int = 16,
    ) -> None:
        if sched_batch < 1:
            raise InputError(f"sched_batch is {sched_batch}", hint="1 or more requests")
        super().__init__(max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens)
        self.queue = SortedBatches(order, sched_batch)
