"""How two GPUs compare: the ratio of their measured times, operator by operator."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from simulator.hardware.grid import Float, Grid
from simulator.hardware.profile import Profile


def compare(first: Profile, second: Profile) -> list[dict[str, Any]]:
    """Return a row for each figure both profiles have, with ``ratio``, the second's over the first's.

    Rows of datasheet and roofline figures have one ratio; rows of tables the median over all knots that both cover, its
    10th and 90th percentile (``low``, ``high``) and the number of ``points``. Below 1 the second GPU takes less time.
    """
    return [*_figures(first, second), *_tables(first, second)]


def _figures(first: Profile, second: Profile) -> Iterator[dict[str, Any]]:
    pairs: list[tuple[str, float | None, float | None]] = [
        ("memory capacity", first.memory.capacity, second.memory.capacity),
        ("memory bandwidth", first.memory.bandwidth, second.memory.bandwidth),
        *((f"peak {dtype}", rate, second.peak.get(dtype)) for dtype, rate in first.peak.items()),
        ("achieved bf16 FLOP/s", first.gemm.compute, second.gemm.compute),
        ("achieved bandwidth, decode attention", first.decode_attention.bandwidth, second.decode_attention.bandwidth),
    ]
    if first.allreduce is not None and second.allreduce is not None:
        pairs.append(("all-reduce bandwidth", first.allreduce.bandwidth, second.allreduce.bandwidth))
    for what, one, other in pairs:
        if one and other:
            yield {"what": what, "kind": "rate", "ratio": other / one}


def _tables(first: Profile, second: Profile) -> Iterator[dict[str, Any]]:
    for library, other in _counterparts(first, second):
        for operator in first.tables.operators(library):
            groups: dict[str, list[Float]] = {}
            theirs = {_key(grid): grid for grid in second.tables.find(other, operator)}
            if operator == "layer_skew":  # shares, not times
                continue
            for grid in first.tables.find(library, operator):
                match = theirs.get(_key(grid))
                if match is not None and len(ratios := _ratios(grid, match)):
                    kind = str(grid.attributes.get("kv_dtype", grid.attributes.get("dtype", "")))
                    groups.setdefault(kind, []).append(ratios)
            for kind, found in sorted(groups.items()):
                low, median, high = np.quantile(np.concatenate(found), [0.1, 0.5, 0.9])
                name = library if library == other else f"{library} / {other}"
                yield {
                    "what": f"{operator} {kind}".strip(),
                    "kind": "time",
                    "library": name,
                    "ratio": float(median),
                    "low": float(low),
                    "high": float(high),
                    "points": sum(map(len, found)),
                }


def _counterparts(first: Profile, second: Profile) -> Iterator[tuple[str, str]]:
    """Yield pairs of libraries: the same version where both have it, else the newest of the same name."""
    theirs = second.tables.libraries()
    for library in first.tables.libraries():
        alike = [name for name in theirs if name.rpartition("-")[0] == library.rpartition("-")[0]]
        if alike:
            yield library, library if library in alike else max(alike)


def _key(grid: Grid) -> tuple[Any, ...]:
    return tuple(sorted(grid.attributes.items()))


def _ratios(grid: Grid, other: Grid) -> Float:
    points = np.meshgrid(*(axis.knots for axis in grid.axes), indexing="ij")
    inside = other.covers(*points)
    ratios = other.at(*points)[inside] / grid.seconds[inside]
    return ratios[~np.isnan(ratios)]
