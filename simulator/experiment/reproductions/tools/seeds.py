"""Figures over several seeds."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np


class Spread(NamedTuple):
    """Mean and standard deviation (of a sample; 0 of a single value) over seeds, and the values."""

    mean: float
    sd: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the spread of at least one value."""
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return cls(float(np.mean(values)), sd, tuple(float(value) for value in values))


def by_seed(found: Sequence[float], seeds: int) -> list[list[float]]:
    """Cut results of nested loops, the seeds innermost, into one list for each setting of the outer loops."""
    return [list(found[low : low + seeds]) for low in range(0, len(found), seeds)]
