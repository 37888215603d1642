"""Fill what a profile of mixed attention leaves open: four axes, new and past tokens of a prompt, decodes, context."""

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.grid import Axis, Float, Grid

_Mask = NDArray[np.bool_]


def fill_mixed(seconds: Float, axes: tuple[Axis, ...]) -> Float:
    """Return times without the holes that have an answer; first dimension grids, then new, past, decodes, context.

    - Without new tokens their past has no meaning, and without decodes their context has none: one time holds for all.
    - Decodes with no context take as long as with the shortest measured.
    - The knots may be those of several regular grids laid over each other; between the knots of one, its own
      interpolation fills what only others have, the finest grid that reaches there first.
    - Where the most decodes were measured without a prompt only, a prompt adds to them what it adds to the next fewer.
    - With neither prompt nor decodes there is nothing to run: the shortest time measured, to interpolate from.
    """
    return np.stack([_fill(one, axes) for one in seconds])


def _fill(seconds: Float, axes: tuple[Axis, ...]) -> Float:
    seconds = seconds.copy()
    assert all(axis.knots[0] == 0 for axis in axes), "each axis begins with a batch that has none of it"
    patterns = _patterns(seconds)
    seconds[0] = _or(seconds[0], seconds[0, :1])
    seconds[:, :, 0] = _or(seconds[:, :, 0], seconds[:, :, 0, :1])
    seconds[:, :, :, 0] = _or(seconds[:, :, :, 0], seconds[:, :, :, 1])
    parts = [_part(seconds, axes, pattern) for pattern in patterns]
    points = np.meshgrid(*(axis.knots for axis in axes), indexing="ij")
    for part in sorted(parts, key=_spacing):
        inside = part.covers(*points)
        seconds = np.where(np.isnan(seconds) & inside, part.at(*points), seconds)
    added = seconds[0, :, -1] / seconds[0, :, -2]
    seconds[:, :, -1] = _or(seconds[:, :, -1], seconds[:, :, -2] * added)
    seconds[0, :, 0] = np.nanmin(seconds)
    return seconds


def _patterns(seconds: Float) -> list[_Mask]:
    """Return which (new, past, context) belong to each regular grid, one mask a grid; decodes are common to all."""
    measured: _Mask = np.asarray(~np.isnan(seconds).all(axis=2))
    distinct: list[_Mask] = []
    for knot in measured[1:, 1:, 1:]:
        if knot.any() and not any((knot == other).all() for other in distinct):
            distinct.append(knot)
    # A knot shared by several grids has all their points, and so says nothing new.
    single: list[_Mask] = []
    for one in sorted(distinct, key=np.count_nonzero):
        known = np.logical_or.reduce([other for other in single if (other <= one).all()] or [np.zeros_like(one)])
        if (known != one).any():
            single.append(one)
    return [_members(measured, one)[:, None, None] & one for one in single]


def _members(measured: _Mask, one: _Mask) -> _Mask:
    """Tell which knots of new tokens have all points of a grid."""
    return np.array([bool((one <= knot).all()) for knot in measured[1:, 1:, 1:]])


def _part(seconds: Float, axes: tuple[Axis, ...], pattern: _Mask) -> Grid:
    """Return the regular grid of a pattern, with its batches that lack prompts or decodes."""
    new, past, context = (
        np.concatenate([[0], 1 + np.flatnonzero(pattern.any(axis=others))]) for others in ((1, 2), (0, 2), (0, 1))
    )
    decodes = np.arange(seconds.shape[2])
    kept = (new, past, decodes, context)
    inside = tuple(Axis(axis.name, axis.knots[keep], axis.scale) for axis, keep in zip(axes, kept, strict=True))
    return Grid("", "", inside, seconds[np.ix_(*kept)])


def _spacing(part: Grid) -> float:
    """Return how far apart a grid's knots are: the mean ratio of neighbours over new tokens."""
    knots = part.axes[0].knots[1:]
    return float(np.mean(np.log(knots[1:] / knots[:-1]))) if len(knots) > 1 else np.inf


def _or(seconds: Float, otherwise: Float) -> Float:
    return np.where(np.isnan(seconds), otherwise, seconds)
