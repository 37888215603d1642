"""Decode iterations of a technique that are no sum of tables, made into curves with a closed form again."""

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from simulator.core import PS_PER_S
from simulator.cost.base import CostModel, Decodes
from simulator.cost.decode_curve import DecodeCurves, distinct
from simulator.cost.wrapped import WrappedCost

Float = NDArray[np.float64]
# Contexts at which a curve is exact: every power of two that kernels were measured at, and three between.
KNOTS = distinct(np.rint(2.0 ** np.arange(0, 20.25, 0.25)))

_LONGEST_PS = 2.0**61


class Alike:
    """Requests that all read ``longest`` KV tokens, as a cost model asks about them."""

    def __init__(self, longest: int) -> None:
        self.longest = longest


class TabulatedCost(WrappedCost):
    """A cost model whose decode iterations take what ``decode_ps`` says, straight between ``KNOTS`` tokens of context.

    Curves are made of whole picoseconds, so runs of iterations have a closed form whatever the technique computes.
    Where the model within waits for the longest context, so does this one.
    """

    def __init__(self, cost: CostModel, note: str) -> None:
        super().__init__(cost, note)
        self._even = DecodeCurves(self._seconds(lambda batch, mean: self.decode_ps(batch, batch * mean, mean)), KNOTS)
        self._waiting = DecodeCurves(self._seconds(self._wait_ps), KNOTS)
        self._waits: dict[int, bool] = {}

    @abstractmethod
    def decode_ps(self, requests: int, context: int, longest: int) -> float:
        """Return ps of an iteration in which ``requests`` decode over ``context`` KV tokens, one over ``longest``."""

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        """Return (first, growth, limit) of iterations that only decode; see ``CostModel``."""
        first, slope, until = self._even.at(requests, context)
        growth, limit = slope * requests, (until - 1) // requests + 1
        if self._skewed(requests):
            mean, gentler, _ = self._waiting.at(requests, context)
            longest, steeper, further = self._waiting.at(requests, requests * decodes.longest)
            # What the longest reads never falls below the mean of all.
            first += max(longest - mean, 0)
            growth += (steeper - gentler) * requests
            limit = min(limit, (further - 1) // requests + 1)
        return max(first, 1), growth, limit

    def _skewed(self, requests: int) -> bool:
        found = self._waits.get(requests)
        if found is None:
            found = self._waits[requests] = self._wait_ps(requests, int(KNOTS[-1])) > 0
        return found

    def _wait_ps(self, batch: int, longest: int) -> float:
        """Return ps that a batch of the shortest contexts takes longer when one of them is ``longest``."""
        return self.decode_ps(batch, batch, longest) - self.decode_ps(batch, batch, 1)

    @staticmethod
    def _seconds(ps: Callable[[int, int], float]) -> Callable[[Float, Float], Float]:
        def seconds(batch: Float, context: Float) -> Float:
            size = int(batch[0])
            times = np.array([ps(size, int(mean)) for mean in context.tolist()])
            # Far beyond any context in use, times may be longer than the clock reaches.
            return np.asarray(np.minimum(times, _LONGEST_PS) / PS_PER_S)

        return seconds
