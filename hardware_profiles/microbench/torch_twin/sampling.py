"""When enough samples were taken, and what they say; the same rule as the CUDA harness's sampling.h."""

from bisect import insort
from dataclasses import dataclass
from math import sqrt
from typing import Any


@dataclass(frozen=True)
class Rule:
    """Stop at ``fewest`` samples if their median's relative standard error is within ``noise``, at ``most``, in time.

    ``seconds`` of sampling are enough for any case.
    """

    fewest: int = 15
    most: int = 300
    noise: float = 0.005
    seconds: float = 0.5


class Samples:
    """Times of one case, in seconds."""

    def __init__(self) -> None:
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """Take in a sample."""
        insort(self._sorted, seconds)

    def enough(self, rule: Rule, elapsed: float) -> bool:
        """Tell whether to stop after so many seconds of sampling."""
        count = len(self._sorted)
        if count < rule.fewest:
            return elapsed > 4 * rule.seconds and count >= 3
        return count >= rule.most or elapsed > rule.seconds or self.noise() <= rule.noise

    def noise(self) -> float:
        """Return the standard error of the median over the median, the spread taken from the quartiles."""
        if len(self._sorted) < 2:
            return 1.0
        deviation = (self._at(0.75) - self._at(0.25)) / 1.349
        return 1.2533 * deviation / sqrt(len(self._sorted)) / self._at(0.5)

    def summary(self, rule: Rule) -> dict[str, Any]:
        """Return the result's figures as a record has them."""
        noise = self.noise()
        figures = {"seconds": self._at(0.5), "fastest": self._sorted[0], "noise": noise}
        return figures | {"samples": len(self._sorted), "settled": noise <= rule.noise}

    def _at(self, share: float) -> float:
        place = share * (len(self._sorted) - 1)
        low = int(place)
        high = min(low + 1, len(self._sorted) - 1)
        return self._sorted[low] + (place - low) * (self._sorted[high] - self._sorted[low])
