"""Iterations that take longer than they should: a throttled GPU, a noisy neighbour."""

from collections.abc import Sequence
from typing import Any

from simulator.core import Request
from simulator.cost.base import CostModel, Decodes
from simulator.cost.terms import Seen


class Slowed(CostModel):
    """A cost model whose iterations take ``factor`` times as long, rounded up to whole picoseconds."""

    def __init__(self, cost: CostModel, factor: float) -> None:
        self._cost = cost
        self.factor = factor

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        """Return the next iteration's time; rounding leaves no closed form for those after it."""
        first, _, _ = self._cost.decode_run(requests, context, decodes)
        return self._slowed(first), 0, 1

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the duration of an iteration with prompt chunks."""
        return self._slowed(self._cost.mixed(chunks, tokens, requests, context, decodes))

    def coverage(self, seen: Seen | None = None) -> dict[str, Any]:
        """Return what the times rest on."""
        return self._cost.coverage(seen)

    def _slowed(self, duration: int) -> int:
        return max(round(duration * self.factor), 1)
