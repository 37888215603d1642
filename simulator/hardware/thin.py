"""Leave out knots that interpolation between the others replaces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.grid import Axis, Float

Kept = list[NDArray[np.intp]]


@dataclass(frozen=True)
class Limits:
    """Largest relative errors: over all measurements, and over those of each knot left out by itself.

    The second keeps a knot at which the times jump: among many smooth ones its error would not show in a percentile.
    """

    median: float = 0.01
    p95: float = 0.04
    knot_median: float = 0.02
    knot_p95: float = 0.08


@dataclass(frozen=True)
class Errors:
    """How far interpolated seconds are from measured ones (relative), and how many were compared."""

    median: float
    p95: float
    samples: int

    @classmethod
    def of(cls, errors: Float) -> "Errors":
        """Summarise errors; NaN is left out."""
        known = errors[~np.isnan(errors)]
        if not len(known):
            return cls(0.0, 0.0, 0)
        return cls(float(np.median(known)), float(np.quantile(known, 0.95)), len(known))


def thin(
    seconds: Float,
    axes: Sequence[Axis],
    names: Sequence[str],
    *,
    held: Sequence[float] = (),
    limits: Limits | None = None,
    measured: Float | None = None,
) -> Kept:
    """Return which knots of each axis to keep, as indexes.

    ``seconds`` has one grid an entry of its first dimension, then one dimension an axis; all grids keep the same knots.
    Knots leave the axes in ``names``, the one that costs least first, except the ends and those in ``held``. None
    leaves that would put a hole where something was measured. Where ``seconds`` was filled, ``measured`` is what it was
    filled from: errors are taken against that.
    """
    limits = limits or Limits()
    measured = seconds if measured is None else measured
    kept: Kept = [np.arange(len(axis.knots)) for axis in axes]
    errors = np.where(np.isnan(measured), np.nan, 0.0)
    free = {
        (at, knot)
        for at, axis in enumerate(axes)
        if axis.name in names
        for knot in range(1, len(axis.knots) - 1)
        if axis.knots[knot] not in held
    }
    costs: dict[tuple[int, int], tuple[float, Float]] = {}
    while free:
        for at, knot in free:
            if (at, knot) not in costs:
                costs[at, knot] = _cost(seconds, measured, axes, kept, errors, at, knot)
        at, knot = min(free, key=lambda candidate: (costs[candidate][0], candidate))
        if not np.isfinite(costs[at, knot][0]):
            break
        low, high = _neighbours(kept[at], knot)
        tried = errors.copy()
        tried[_between(at, low, high, errors.ndim)] = costs[at, knot][1]
        without = np.setdiff1d(kept[at], [knot])
        free.discard((at, knot))
        if _within(tried, [without if other == at else kept[other] for other in range(len(kept))], limits):
            kept[at], errors = without, tried
            # Along the same axis only the neighbours changed; along another, every interpolation did.
            costs = {
                candidate: cost
                for candidate, cost in costs.items()
                if candidate[0] == at and not low <= candidate[1] <= high
            }
    return kept


def refill(seconds: Float, axes: Sequence[Axis], kept: Kept) -> Float:
    """Return all of ``seconds`` as interpolated from the kept knots, as ``Grid.at`` does; NaN next to a hole."""
    filled = seconds
    for at in reversed(range(len(axes))):
        axis, knots = axes[at], axes[at].knots
        low = np.clip(np.searchsorted(kept[at], np.arange(len(knots)), side="right") - 1, 0, max(len(kept[at]) - 2, 0))
        left, right = kept[at][low], kept[at][np.minimum(low + 1, len(kept[at]) - 1)]
        places = np.log(knots) if axis.scale == "log" else knots
        width = np.where(right == left, 1.0, places[right] - places[left])
        share = ((places - places[left]) / width).reshape(-1, *[1] * (filled.ndim - at - 2))
        before, after = filled.take(left, at + 1), filled.take(right, at + 1)
        if axis.scale == "log":
            between = np.exp((1 - share) * np.log(before) + share * np.log(after))
        else:
            between = (1 - share) * before + share * after
        filled = np.where(share == 0, before, np.where(share == 1, after, between))
    return filled


def _cost(
    seconds: Float, measured: Float, axes: Sequence[Axis], kept: Kept, errors: Float, at: int, knot: int
) -> tuple[float, Float]:
    """Return by how much the errors grow in sum without a knot, and the errors between its neighbours."""
    low, high = _neighbours(kept[at], knot)
    here = slice(low, high + 1)
    own = Axis(axes[at].name, axes[at].knots[here], axes[at].scale)
    near = seconds[_between(at, low - 1, high + 1, seconds.ndim)]
    inside = [*axes[:at], own, *axes[at + 1 :]]
    found = refill(near, inside, [*kept[:at], np.array([0, high - low]), *kept[at + 1 :]])
    known = measured[_between(at, low, high, seconds.ndim)]
    new = np.abs(found[_between(at, 0, high - low, seconds.ndim)] / known - 1)
    new[np.isnan(new) & ~np.isnan(known)] = np.inf
    return float(np.nansum(new) - np.nansum(errors[_between(at, low, high, errors.ndim)])), new


def _within(errors: Float, kept: Kept, limits: Limits) -> bool:
    whole = Errors.of(errors)
    if whole.median > limits.median or whole.p95 > limits.p95:
        return False
    for at, left in enumerate(kept):
        for knot in np.setdiff1d(np.arange(errors.shape[at + 1]), left):
            one = Errors.of(errors.take(knot, at + 1))
            if one.median > limits.knot_median or one.p95 > limits.knot_p95:
                return False
    return True


def _neighbours(kept: NDArray[np.intp], knot: int) -> tuple[int, int]:
    place = int(np.searchsorted(kept, knot))
    return int(kept[place - 1]), int(kept[place + 1])


def _between(at: int, low: int, high: int, dimensions: int) -> tuple[slice, ...]:
    """Return the index of all that lies between two knots of an axis, both excluded."""
    return tuple(slice(low + 1, high) if axis == at + 1 else slice(None) for axis in range(dimensions))
