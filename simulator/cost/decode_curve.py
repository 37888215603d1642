"""Decode attention of one batch size as whole picoseconds: piecewise linear in the KV tokens that the batch reads."""

from bisect import bisect_right
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from simulator.core import PS_PER_S

Float = NDArray[np.float64]
Segments = tuple[list[int], list[int], list[int]]
_FOREVER = 2**62


class DecodeCurves:
    """Curves by batch size, made when a size is first asked for.

    ``seconds(batch, context)`` gives the time of all layers for a batch whose requests each read ``context`` KV
    tokens (arrays broadcast); it must not fall with context, and is straight between ``knots``.
    """

    def __init__(self, seconds: Callable[[Float, Float], Float], knots: Float) -> None:
        self._seconds = seconds
        self._knots = np.unique(np.maximum(1, np.rint(knots)))
        self._curves: list[Segments | None] = [None]

    def at(self, batch: int, context: int) -> tuple[int, int, int]:
        """Return (ps, ps a KV token, KV tokens until the next knot) for a batch that reads ``context`` KV tokens."""
        curves = self._curves
        segments = curves[batch] if batch < len(curves) else None
        if segments is None:
            segments = self._make(batch)
        starts, bases, slopes = segments
        low = bisect_right(starts, context) - 1
        slope = slopes[low]
        left = starts[low + 1] - context if low + 1 < len(starts) else _FOREVER
        return bases[low] + slope * (context - starts[low]), slope, left

    def _make(self, batch: int) -> Segments:
        if batch >= len(self._curves):
            self._curves += [None] * (batch + 1 - len(self._curves))
        times = np.maximum.accumulate(self._seconds(np.full_like(self._knots, batch), self._knots))
        totals = np.rint(batch * self._knots).astype(np.int64)
        bases = np.rint(PS_PER_S * times).astype(np.int64)
        # Rounded down, so that time never falls at a knot.
        slopes = (np.diff(bases) // np.diff(totals)).tolist()
        # Beyond the last knot it goes on as it came; before the first it is flat.
        segments = ([0, *totals.tolist()], [int(bases[0]), *bases.tolist()], [0, *slopes, slopes[-1]])
        self._curves[batch] = segments
        return segments
