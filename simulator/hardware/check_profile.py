"""Look for what cannot be right in a profile: impossible rates, gaps, times that fall as work grows, lone outliers."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.fit_roofline import Most
from simulator.hardware.grid import Float, Grid
from simulator.hardware.points import (
    ABOVE,
    Points,
    all_reduces,
    decode_attention,
    describe,
    impossible,
    matrix_products,
    prompt_attention,
)
from simulator.hardware.profile import Profile

# What no table stays below at its best unless its unit is wrong; a table of small kernels only says nothing.
_BELOW, _ENOUGH_FLOPS, _ENOUGH_BYTES = 0.02, 1e12, 1e9
# FP8 times double at the start of a tile and fall to its end; elsewhere kernels are switched, at less of a step.
_TEETH, _FALL = 0.45, 0.6
_TEETH_OPERATORS = ("gemm", "quantize", "scale")
_LONE = np.log(3.0)


class Finding(NamedTuple):
    """Something suspicious (warning) or impossible (error) in an operator's table: in how many cells, and the worst."""

    level: Literal["error", "warning"]
    where: str
    what: str
    cells: int
    example: str


class _Cells(NamedTuple):
    """Cells of a grid that are wrong in one way, and how badly (above 0; 1 is barely)."""

    what: str
    places: NDArray[np.intp]
    badness: Float


def check_profile(profile: Profile) -> list[Finding]:
    """Return what is wrong or suspicious in a profile, errors first; InputError if its table file cannot be read."""
    found = [*_rooflines(profile), *_rates(profile), *_shapes(profile)]
    return sorted(found, key=lambda finding: (finding.level, finding.where, finding.what))


def _too_fast(points: Points, profile: Profile) -> NDArray[np.bool_]:
    return impossible(points, Most(profile.memory.bandwidth, _peak(profile, points.dtype)), profile.memory.l2)


def _peak(profile: Profile, dtype: str) -> float | None:
    return profile.peak.get(dtype.removesuffix("_block"))


def _rooflines(profile: Profile) -> Iterator[Finding]:
    sections = {"gemm": (profile.gemm, "bfloat16"), **{name: (line, name) for name, line in profile.rooflines.items()}}
    sections |= {name: (getattr(profile, name), "bfloat16") for name in ("prefill_attention", "decode_attention")}
    for name, (line, dtype) in sections.items():
        if line.bandwidth > ABOVE * profile.memory.bandwidth:
            what = f"bandwidth {line.bandwidth / 1e9:.0f} GB/s, datasheet {profile.memory.bandwidth / 1e9:.0f}"
            yield Finding("error", f"roofline {name}", what, 1, "")
        peak = _peak(profile, dtype)
        if peak is not None and line.compute > ABOVE * peak:
            what = f"compute {line.compute / 1e12:.0f} TFLOP/s, datasheet {peak / 1e12:.0f}"
            yield Finding("error", f"roofline {name}", what, 1, "")


def _rates(profile: Profile) -> Iterator[Finding]:
    """Compare with the datasheet: no kernel is faster, and the best of a table are not slower by orders."""
    tables = profile.tables
    kernels = (matrix_products, prompt_attention, decode_attention)
    groups: dict[str, list[Points]] = {}
    for kind in kernels:
        for points in kind(tables):
            groups.setdefault(_where(points.grid), []).append(points)
    for where, group in groups.items():
        fast = [(points, _too_fast(points, profile)) for points in group]
        yield from _fast(where, fast, "faster than the datasheet allows")
        yield from _slow(where, group, profile)
    link = profile.links.nvlink or profile.links.pcie
    if link is not None:
        for points in all_reduces(tables):
            beyond = points.size > ABOVE * link.bandwidth * points.seconds
            yield from _fast(_where(points.grid), [(points, beyond)], "faster than the link's datasheet allows")


def _fast(where: str, group: list[tuple[Points, NDArray[np.bool_]]], what: str) -> Iterator[Finding]:
    cells, example = 0, ""
    for points, beyond in group:
        wrong = np.flatnonzero(beyond)
        cells += len(wrong)
        if len(wrong) and not example:
            at = int(wrong[0])
            example = f"{points.describe(at)}: {points.seconds[at] * 1e6:.3g} us"
    if cells:
        yield Finding("error", where, what, cells, example)


def _slow(where: str, group: list[Points], profile: Profile) -> Iterator[Finding]:
    best = 0.0
    large = False
    for points in group:
        peak = _peak(profile, points.dtype)
        uncached = points.size > _ENOUGH_BYTES
        best = max(best, *(points.size / points.seconds / profile.memory.bandwidth), 0.0)
        if peak is not None:
            best = max(best, *(points.flops / points.seconds / peak), 0.0)
            large |= bool((points.flops > _ENOUGH_FLOPS).any())
        large |= bool(uncached.any())
    if large and best < _BELOW:
        yield Finding("error", where, f"never above {best:.2%} of the datasheet's rates: a wrong unit?", 1, "")


def _shapes(profile: Profile) -> Iterator[Finding]:
    """Look at each grid by itself."""
    merged: dict[tuple[str, str], list[tuple[Grid, _Cells]]] = {}
    empty: dict[str, int] = {}
    for grid in profile.tables:
        where = _where(grid)
        if grid.seconds.size == 0 or np.isnan(grid.seconds).all():
            empty[where] = empty.get(where, 0) + 1
            continue
        # Shares are no times: they may do as they like.
        looks = (_gaps,) if grid.operator == "layer_skew" else (_gaps, _falls, _lone)
        for cells in (look(grid) for look in looks):
            if len(cells.places):
                merged.setdefault((where, cells.what), []).append((grid, cells))
    for where, count in empty.items():
        yield Finding("error", where, "nothing measured", count, "")
    for (where, what), found in merged.items():
        grid, worst = max(found, key=lambda pair: float(pair[1].badness.max()))
        at = int(worst.badness.argmax())
        count = sum(len(cells.places) for _, cells in found)
        yield Finding("warning", where, what, count, f"{describe(grid, worst.places[at])}")


def _gaps(grid: Grid) -> _Cells:
    """Holes with measurements on both sides."""
    known = ~np.isnan(grid.seconds)
    between = np.zeros(known.shape, bool)
    for axis in range(known.ndim):
        before = np.logical_or.accumulate(known, axis)
        after = np.flip(np.logical_or.accumulate(np.flip(known, axis), axis), axis)
        between |= ~known & before & after
    places = np.argwhere(between)
    return _Cells("not measured, though its neighbours were", places, np.ones(len(places)))


def _falls(grid: Grid) -> _Cells:
    """Less time for more work than the teeth of kernels explain."""
    least = _TEETH if grid.operator in _TEETH_OPERATORS else _FALL
    share = np.ones(grid.seconds.shape)
    for axis, along in enumerate(grid.axes):
        if along.name == "gpus":  # more of them are not more work
            continue
        most = np.fmax.accumulate(grid.seconds, axis)
        share = np.fmin(share, grid.seconds / most)
    wrong = share < least
    return _Cells("less time than for less work", np.argwhere(wrong), 1 / share[wrong])


def _lone(grid: Grid) -> _Cells:
    """Times a factor 3 off what neighbours say, along every axis on which it has two."""
    log = np.log(grid.seconds)
    off = np.full(log.shape, np.inf)
    for axis in range(log.ndim):
        if log.shape[axis] < 3:
            continue
        inside = _slice(log.ndim, axis, 1, -1)
        before, after = log[_slice(log.ndim, axis, 0, -2)], log[_slice(log.ndim, axis, 2, None)]
        # Between neighbours that differ, whatever lies between them is fine.
        here = log[inside]
        away = np.fmax(np.maximum(here - np.maximum(before, after), np.minimum(before, after) - here), 0.0)
        away[np.isnan(before) | np.isnan(after)] = np.inf
        off[inside] = np.fmin(off[inside], away)
    wrong = np.isfinite(off) & (off > _LONE)
    return _Cells("a factor 3 off its neighbours", np.argwhere(wrong), np.exp(off[wrong]))


def _slice(dimensions: int, axis: int, start: int, stop: int | None) -> tuple[slice, ...]:
    return tuple(slice(start, stop) if at == axis else slice(None) for at in range(dimensions))


def _where(grid: Grid) -> str:
    kind = grid.attributes.get("kv_dtype", grid.attributes.get("dtype"))
    return f"{grid.library} {grid.operator}" + (f" {kind}" if kind else "")
