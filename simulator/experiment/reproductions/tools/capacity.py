"""The largest rate at which a statistic stays within a bound."""

from collections.abc import Callable, Sequence
from functools import cache
from math import sqrt

_MOST_STEPS = 60


def crossing(rates: Sequence[float], values: Sequence[float], bound: float) -> float:
    """Return the rate where a sweep's values first exceed a bound, straight between the two points around it.

    ``rates`` rise. The last rate if none exceeds it; the first if all do: look at the values then, the sweep is short.
    """
    for index, value in enumerate(values):
        if not value <= bound:
            if index == 0:
                return rates[0]
            below, rate, last = values[index - 1], rates[index], rates[index - 1]
            return last + (rate - last) * (bound - below) / (value - below)
    return rates[-1]


def max_rate(
    statistic: Callable[[float], float], bound: float, low: float, high: float, *, precision: float = 0.01
) -> float:
    """Return the largest rate at which a statistic is at most a bound, by bisection to a relative precision.

    With common random numbers (arrivals and lengths of one seed at every rate) the statistic rises with the rate, but
    for little. ``low`` and ``high`` are a guess: they are halved and doubled until they hold the answer between them;
    ValueError where they never do.
    """
    steps, statistic = 0, cache(statistic)
    while statistic(low) > bound:
        low, high = low / 2, low
        steps += 1
        if steps > _MOST_STEPS:
            raise ValueError(f"the statistic exceeds {bound} at any rate down to {low:g}")
    while statistic(high) <= bound:
        low, high = high, 2 * high
        steps += 1
        if steps > _MOST_STEPS:
            raise ValueError(f"the statistic stays within {bound} at any rate up to {high:g}")
    while high > low * (1 + precision):
        middle = sqrt(low * high)
        if statistic(middle) <= bound:
            low = middle
        else:
            high = middle
    return sqrt(low * high)
