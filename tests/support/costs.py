"""Cost models for tests only: with knots, and with time proportional to the batch."""

from collections.abc import Sequence
from typing import Any

from simulator.core import Request
from simulator.cost.base import CostModel, Decodes

FOREVER = 2**62


class KnottyCost(CostModel):
    """Piecewise affine in total and in longest context: a new slope, and a jump, at every multiple of a width.

    Measured tables give such a cost. Widths of a few tokens put knots into nearly every run.
    """

    def __init__(self, *, base: int, total_width: int, longest_width: int, slopes: Sequence[int]) -> None:
        self.base = base
        self.total_width = total_width
        self.longest_width = longest_width
        self.slopes = slopes

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        longest = decodes.longest
        total_slope, to_knot = self._slope(context, self.total_width)
        longest_slope, to_longest_knot = self._slope(longest, self.longest_width)
        first = self._decode(requests, context, longest)
        # An iteration belongs to a piece if the context it starts from does.
        limit = min(-(-to_knot // requests), to_longest_knot)
        return first, total_slope * requests + longest_slope, limit

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        duration = sum(self.base + 7 * new * (request.computed + new) for request, new in chunks)
        if requests:
            duration += self._decode(requests, context, decodes.longest)
        return duration

    def coverage(self) -> dict[str, Any]:
        return {"iteration": "made up"}

    def _slope(self, at: int, width: int) -> tuple[int, int]:
        piece = at // width
        return self.slopes[piece % len(self.slopes)], (piece + 1) * width - at

    def _decode(self, requests: int, context: int, longest: int) -> int:
        total_slope, _ = self._slope(context, self.total_width)
        longest_slope, _ = self._slope(longest, self.longest_width)
        return self.base * (1 + requests) + total_slope * context + longest_slope * longest


class SharingCost(CostModel):
    """An iteration takes ``token_ps`` for every request in it: processor sharing, one token at a time."""

    def __init__(self, token_ps: int) -> None:
        self.token_ps = token_ps

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        return self.token_ps * requests, 0, FOREVER

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        return self.token_ps * (len(chunks) + requests)

    def coverage(self) -> dict[str, Any]:
        return {"iteration": "proportional to the batch"}
