"""Confidence intervals of means over a few seeds, by the bootstrap."""

import math
from itertools import product
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from simulator.core.streams import Streams

Float = NDArray[np.float64]

CONFIDENCE = 0.95
FEWEST = 5  # with fewer values the resamples are too few to reach as far out as the interval must
_EXACT = 6  # up to so many values all resamples are counted, 46,656 of them
_RESAMPLES = 20_000


class Bootstrap:
    """Resamples ``count`` values, the same way for every quantity: pairs stay pairs.

    ``weights`` says how much each value counts in a resample, shape (resamples, count).
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.weights = _weights(count)

    def interval(self, values: Float) -> tuple[float, float] | None:
        """Return the confidence interval of the mean of values, one a seed; None for fewer than ``FEWEST``.

        The percentile interval is too narrow for few values; it is widened to what the t distribution asks for
        (expanded percentile interval; Hesterberg, The American Statistician 69(4), 2015).
        """
        if self.count < FEWEST:
            return None
        means = self.weights @ values
        tail = _expanded_tail(self.count)
        low, high = np.quantile(means, [tail, 1 - tail])
        return float(low), float(high)


def _weights(count: int) -> Float:
    """Return by resample how much each value counts, shape (resamples, count); the rows add up to 1."""
    if count < FEWEST:
        return np.empty((0, count))
    if count <= _EXACT:
        chosen = np.array(list(product(range(count), repeat=count)))
        return np.stack([(chosen == index).sum(axis=1) for index in range(count)], axis=1) / count
    rng = Streams(0).get("bootstrap")
    return rng.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES) / count


def _expanded_tail(count: int) -> float:
    normal = NormalDist()
    t = _t_quantile((1 + CONFIDENCE) / 2, count - 1)
    return normal.cdf(-math.sqrt(count / (count - 1)) * t)


def _t_quantile(share: float, freedom: int) -> float:
    """Return a quantile of Student's t, to 0.3 % from 4 degrees of freedom on (Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(share)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
