"""Decode attention of one batch size as whole picoseconds: piecewise linear in the KV tokens that the batch reads."""

from bisect import bisect_right
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from simulator.core import PS_PER_S

Float = NDArray[np.float64]
Segments = tuple[list[int], list[int], list[int]]
_FOREVER = 2**62


def distinct(values: Float) -> Float:
    """Return the different values, rising."""
    # Without counts, np.unique asks whether they are masked, and that imports numpy.ma: 9 CPU ms of every short run.
    return np.unique(values, return_counts=True)[0]


class DecodeCurves:
    """Curves by batch size, made when a size is first asked for.

    ``seconds(batch, context)`` gives the time of all layers for a batch whose requests each read ``context`` KV
    tokens (arrays broadcast); it must not fall with context, and is straight between ``knots``. ``made`` has by batch
    (KV tokens at which segments begin, ps there, ps a KV token), the first list one longer by an end never reached.
    """

    def __init__(self, seconds: Callable[[Float, Float], Float], knots: Float) -> None:
        self._seconds = seconds
        self._knots = distinct(np.maximum(1, np.rint(knots)))
        self.made: dict[int, Segments] = {}

    def at(self, batch: int, context: int) -> tuple[int, int, int]:
        """Return (ps, ps a KV token, KV tokens until the next knot) for a batch that reads ``context`` KV tokens."""
        starts, bases, slopes = self.made.get(batch) or self.make(batch)
        after = bisect_right(starts, context)
        slope = slopes[after - 1]
        return bases[after - 1] + slope * (context - starts[after - 1]), slope, starts[after] - context

    def make(self, batch: int) -> Segments:
        """Add the curve of a batch to ``made`` and return it."""
        times = np.maximum.accumulate(self._seconds(np.full_like(self._knots, batch), self._knots))
        totals = np.rint(batch * self._knots).astype(np.int64)
        bases = np.rint(PS_PER_S * times).astype(np.int64)
        # Rounded down, so that time never falls at a knot.
        slopes = (np.diff(bases) // np.diff(totals)).tolist()
        # Beyond the last knot it goes on as it came; before the first it is flat.
        starts = [0, *totals.tolist(), _FOREVER]
        segments = self.made[batch] = (starts, [int(bases[0]), *bases.tolist()], [0, *slopes, slopes[-1]])
        return segments
