"""From rows of measurements to thinned grids: what every importer of kernel tables does."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simulator.hardware.grid import Axis, Float, Grid
from simulator.hardware.thin import Errors, Limits, refill, thin

__all__ = ["Layout", "Limits", "Measured", "to_grids"]


@dataclass(frozen=True)
class Layout:
    """How an operator's measurements become grids.

    ``attributes`` tell grids apart, ``axes`` are their coordinates (name and scale), in order; grids alike in
    ``alike`` are thinned together along the axes in ``thinned``, except at the knots in ``held``. ``fill`` closes holes
    first: times of several grids (first dimension) and their axes in, times out.
    """

    operator: str
    attributes: tuple[str, ...]
    axes: tuple[tuple[str, Any], ...]
    alike: tuple[str, ...] = ()
    thinned: tuple[str, ...] = ()
    held: tuple[float, ...] = ()
    limits: Limits = field(default_factory=Limits)
    fill: Callable[[Float, tuple[Axis, ...]], Float] | None = None


@dataclass
class Measured:
    """Grids, and for each group of them how well interpolating between their knots gives back what was measured.

    ``rows`` are the measurements themselves by library and operator, as data frames, for fits.
    """

    grids: list[Grid] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[tuple[str, str], Any] = field(default_factory=dict)

    def add(self, other: "Measured") -> None:
        """Take in what another reading gave."""
        self.grids += other.grids
        self.errors += other.errors
        self.rows |= other.rows


def to_grids(rows: Any, library: str, layout: Layout) -> Measured:
    """Make grids of a data frame with the layout's attributes and axes as columns, and ``seconds``.

    Where a point was measured more than once, by another kernel or again, the fastest counts.
    """
    measured = Measured(rows={(library, layout.operator): rows})
    groups = rows.groupby(list(layout.alike), sort=True) if layout.alike else [((), rows)]
    for values, group in groups:
        named = group.groupby(list(layout.attributes), sort=True)
        axes = [Axis(name, np.unique(group[name].to_numpy(np.float64)), scale) for name, scale in layout.axes]
        seconds = np.full((named.ngroups, *(len(axis.knots) for axis in axes)), np.nan)
        places = [np.searchsorted(axis.knots, group[axis.name].to_numpy(np.float64)) for axis in axes]
        np.fmin.at(seconds, (named.ngroup().to_numpy(), *places), group.seconds.to_numpy(np.float64))
        filled = seconds if layout.fill is None else layout.fill(seconds, tuple(axes))
        kept = thin(filled, axes, layout.thinned, held=layout.held, limits=layout.limits, measured=seconds)
        left = tuple(Axis(axis.name, axis.knots[keep], axis.scale) for axis, keep in zip(axes, kept, strict=True))
        blocks = filled[np.ix_(np.arange(len(filled)), *kept)]
        keys = named.size().index.to_frame(index=False).itertuples(index=False, name=None)
        for key, block in zip(keys, blocks, strict=True):
            attributes = dict(zip(layout.attributes, map(_plain, key), strict=True))
            measured.grids.append(Grid(library, layout.operator, left, block, attributes))
        error = Errors.of(np.abs(refill(filled, axes, kept) / seconds - 1))
        measured.errors.append(
            {
                "library": library,
                "operator": layout.operator,
                **dict(zip(layout.alike, (_plain(value) for value in values), strict=True)),
                "median": error.median,
                "p95": error.p95,
                "samples": error.samples,
                "knots": {
                    axis.name: f"{len(keep)} of {len(axis.knots)}" for axis, keep in zip(axes, kept, strict=True)
                },
                **_repeats(group, layout),
            }
        )
    return measured


def _repeats(rows: Any, layout: Layout) -> dict[str, Any]:
    """Return how far measurements of one point by one kernel are apart (median, relative), if there are any."""
    point = [*layout.attributes, *(name for name, _ in layout.axes), *(["kernel"] if "kernel" in rows else [])]
    again = rows[rows.duplicated(point, keep=False)].groupby(point).seconds
    if not again.ngroups:
        return {}
    apart = again.max() / again.min() - 1
    return {"repeats": {"points": int(again.ngroups), "apart": float(apart.median())}}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
