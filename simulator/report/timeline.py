"""What every instance was doing over a run, as means over equal slices of time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.report.results import Column, Run, RunTables

Floats = NDArray[np.float64]
SLICES = 160
# Fewer requests than this in a window, and a rate is noise.
_ENOUGH = 25

_REQUEST_COLUMNS = ("instance", "arrival_s", "finished_s")
_LEVELS = ("waiting", "prefill_requests", "decode_requests", "kv_blocks_used")
_ITERATION_COLUMNS = ("instance", "start_s", "first_iteration_s", "growth_s", "iterations", "preemptions", *_LEVELS)


@dataclass(frozen=True)
class Timeline:
    """A run by instance and slice of time. Every series has the shape (instances, slices).

    ``arriving`` and ``finishing`` are requests/s; ``waiting``, ``prefill`` and ``decode`` are requests; ``kv`` is the
    share of KV blocks in use in percent, NaN where the instance's size is unknown; ``preemptions`` is a count.
    ``unplaced`` requests reached no instance.
    """

    run: Run
    edges_s: Floats
    names: tuple[str, ...]
    series: Mapping[str, Floats]
    unplaced: int


def timeline_of(tables: RunTables) -> Timeline | None:
    """Read and reduce one run, or return ``None`` where nothing reached an instance."""
    run = tables.run
    requests = tables.requests(_REQUEST_COLUMNS)
    steps = tables.iterations(_ITERATION_COLUMNS)
    placed = requests["instance"] >= 0
    if not placed.any():
        return None
    count = max(
        int(run.cluster.get("instances") or 0),
        int(requests["instance"].max()) + 1,
        int(steps["instance"].max(initial=-1)) + 1,
    )
    stop = _stop(steps)
    times = [requests["arrival_s"], requests["finished_s"][~np.isnan(requests["finished_s"])], stop]
    end = max(float(column.max(initial=0.0)) for column in times)
    edges = np.linspace(0.0, end or 1.0, SLICES + 1)
    width = edges[1]

    def counted(at: Column, instance: Column, weight: Column | None = None) -> Floats:
        known = ~np.isnan(at)
        slices = np.minimum((at[known] / width).astype(np.int64), SLICES - 1)
        weights = None if weight is None else weight[known]
        flat = np.bincount(instance[known] * SLICES + slices, weights, minlength=count * SLICES)
        return flat.reshape(count, SLICES).astype(np.float64)

    instance = requests["instance"][placed].astype(np.int64)
    levels = _levels(steps, stop, edges, count)
    series = {
        "arriving": _smooth(counted(requests["arrival_s"][placed], instance)) / width,
        "finishing": _smooth(counted(requests["finished_s"][placed], instance)) / width,
        "waiting": levels["waiting"],
        "prefill": levels["prefill_requests"],
        "decode": levels["decode_requests"],
        "kv": levels["kv_blocks_used"] / _kv_blocks(run, count)[:, None] * 100,
        "preemptions": counted(steps["start_s"], steps["instance"].astype(np.int64), steps["preemptions"]),
    }
    return Timeline(run, edges, _names(run, count), series, int(np.count_nonzero(~placed)))


def _smooth(counts: Floats) -> Floats:
    """Average counts over windows wide enough to hold some 25 requests each, at most a tenth of the run."""
    filled = counts.sum() / max(1, np.count_nonzero(counts.sum(axis=0))) / len(counts)
    window = 2 * int(min(SLICES / 10, _ENOUGH / max(filled, 1e-9)) / 2) + 1
    kernel = np.ones(window)
    # At both ends the window is cut, so the sum is over fewer slices.
    slices = np.convolve(np.ones(SLICES), kernel, mode="same")
    return np.array([np.convolve(row, kernel, mode="same") / slices for row in counts])


def _stop(steps: Mapping[str, Column]) -> Floats:
    n = steps["iterations"].astype(np.float64)
    stop: Floats = steps["start_s"] + n * steps["first_iteration_s"] + steps["growth_s"] * n * (n - 1) / 2
    return stop


def _levels(steps: Mapping[str, Column], stop: Floats, edges: Floats, count: int) -> dict[str, Floats]:
    """Average each level over each slice of time; an instance that runs no iteration is at 0."""
    means = {name: np.zeros((count, SLICES)) for name in _LEVELS}
    order = np.lexsort((steps["start_s"], steps["instance"]))
    bounds = np.searchsorted(steps["instance"][order], np.arange(count + 1))
    for i in range(count):
        rows = order[bounds[i] : bounds[i + 1]]
        if not len(rows):
            continue
        start, end = steps["start_s"][rows], stop[rows]
        # The integral of a step function is straight between its edges, so interpolating it is exact. Rounding can
        # make a stretch end a hair after the next one starts.
        edge = np.maximum.accumulate(np.column_stack([start, end]).ravel())
        for name in _LEVELS:
            area = np.zeros((len(rows), 2))
            area[:, 1] = steps[name][rows] * (end - start)
            means[name][i] = np.diff(np.interp(edges, edge, np.cumsum(area.ravel()))) / np.diff(edges)
    return means


def _kinds(run: Run, count: int) -> list[Mapping[str, object]]:
    """Return each instance's kind: instances are numbered in the order of the kinds."""
    each = [kind for kind in run.cluster.get("kinds") or () for _ in range(int(kind.get("count") or 1))]
    # Instances beyond the first count were added while running; they are of the last kind.
    return [each[min(i, len(each) - 1)] if each else {} for i in range(count)]


def _kv_blocks(run: Run, count: int) -> Floats:
    return np.array([float(str(kind.get("kv_blocks") or math.nan)) for kind in _kinds(run, count)])


def _names(run: Run, count: int) -> tuple[str, ...]:
    kinds = _kinds(run, count)
    several = len({str(kind.get("name")) for kind in kinds}) > 1
    if several and all(kind.get("model") for kind in kinds):
        return tuple(f"{i}: {kind['model']}" for i, kind in enumerate(kinds))
    return tuple(f"instance {i}" + (f" ({kind.get('name')})" if several else "") for i, kind in enumerate(kinds))
