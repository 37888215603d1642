"""Iterations that something beside the GPU bounds from below."""

from collections.abc import Sequence

from simulator.core import Request
from simulator.cost.base import CostModel, Decodes
from simulator.cost.wrapped import WrappedCost


class FloorCost(WrappedCost):
    """Iterations that take ``floor_ps`` at least, as where a host works beside the GPU."""

    def __init__(self, cost: CostModel, floor_ps: int, note: str) -> None:
        super().__init__(cost, note)
        self._floor_ps = floor_ps

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        """Return (first, growth, limit) of iterations that only decode; see ``CostModel``."""
        first, growth, limit = self._cost.decode_run(requests, context, decodes)
        if first >= self._floor_ps:
            return first, growth, limit
        if growth:
            limit = min(limit, -(-(self._floor_ps - first) // growth))
        return self._floor_ps, 0, limit

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the duration of an iteration with prompt chunks; see ``CostModel``."""
        return max(self._floor_ps, self._cost.mixed(chunks, tokens, requests, context, decodes))
