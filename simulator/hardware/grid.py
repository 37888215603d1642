"""One measured table: seconds over a grid of named axes, with holes where nothing was measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """Where a grid was measured along one coordinate: sorted knots, and how to interpolate between two of them.

    ``log``: time between knots is taken as a power law of the coordinate, else as a straight line.
    """

    name: str
    knots: Float
    scale: Literal["linear", "log"] = "linear"


@dataclass(frozen=True)
class Grid:
    """Seconds over the product of ``axes``; NaN where nothing was measured.

    ``operator`` and ``attributes`` say what was measured (``gemm``, ``{"dtype": "fp8"}``), ``library`` by whose kernels
    (``vllm-0.24.0``). Shape of ``seconds``: one dimension an axis, in their order.
    """

    library: str
    operator: str
    axes: tuple[Axis, ...]
    seconds: Float
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.seconds.shape == tuple(len(axis.knots) for axis in self.axes)

    def axis(self, name: str) -> Axis:
        """Return the axis of a name; KeyError if there is none."""
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise KeyError(name)

    def covers(self, *coordinates: ArrayLike) -> NDArray[np.bool_]:
        """Tell which points lie within the knots of every axis; arrays broadcast, one coordinate an axis."""
        points = np.broadcast_arrays(*(np.asarray(c, np.float64) for c in coordinates))
        inside = np.ones(points[0].shape, bool)
        for axis, x in zip(self.axes, points, strict=True):
            inside &= (x >= axis.knots[0]) & (x <= axis.knots[-1])
        return inside

    def at(self, *coordinates: ArrayLike) -> Float:
        """Return seconds between knots; beyond them, those at the nearest edge. NaN next to a hole.

        Arrays broadcast against each other, one coordinate an axis. Interpolates axis by axis, the last one first.
        """
        points = np.broadcast_arrays(*(np.asarray(c, np.float64) for c in coordinates))
        lows, shares = zip(*(_locate(axis, x) for axis, x in zip(self.axes, points, strict=True)), strict=True)
        return self._blend(lows, shares, ())

    def _blend(
        self, lows: tuple[NDArray[np.intp], ...], shares: tuple[Float, ...], at: tuple[NDArray[np.intp], ...]
    ) -> Float:
        depth = len(at)
        if depth == len(self.axes):
            return self.seconds[at]
        low, share = lows[depth], shares[depth]
        before = self._blend(lows, shares, (*at, low))
        if len(self.axes[depth].knots) == 1:
            return before
        after = self._blend(lows, shares, (*at, low + 1))
        if self.axes[depth].scale == "log":
            between = np.exp((1 - share) * np.log(before) + share * np.log(after))
        else:
            between = (1 - share) * before + share * after
        # A hole on the far side of a knot does not spoil the knot itself.
        return np.where(share == 0, before, np.where(share == 1, after, between))


def _locate(axis: Axis, x: Float) -> tuple[NDArray[np.intp], Float]:
    """Return the index of the knot below each coordinate and its share of the way to the next, from 0 to 1."""
    knots = axis.knots
    low = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, max(len(knots) - 2, 0))
    if len(knots) == 1:
        return low, np.zeros_like(x)
    if axis.scale == "log":
        knots, x = np.log(knots), np.log(np.maximum(x, knots[0]))
    share = (x - knots[low]) / (knots[low + 1] - knots[low])
    return low, np.clip(share, 0.0, 1.0)
