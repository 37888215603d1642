"""Latency of every request: how it is distributed, run by run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simulator.report import style
from simulator.report.headline import milliseconds
from simulator.report.results import Column, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
LATENCIES = {"ttft": "Time to first token (TTFT)", "tpot": "Time per output token (TPOT)", "e2el": "End to end"}
CURVES = {
    "ttft": LATENCIES["ttft"],
    "tpot": LATENCIES["tpot"],
    "itl": "Inter-token latency (ITL)",
    "e2el": LATENCIES["e2el"],
}
COLUMNS = ("completed", *(f"{key}_ms" for key in LATENCIES))
ITERATION_COLUMNS = ("first_iteration_s", "growth_s", "iterations", "decode_requests")

_POINTS = 400
_LOG_FROM = 25.0
# A stretch of iterations stands in the ITL curve for at most so many different gaps.
_GAPS_A_STRETCH = 8


@dataclass(frozen=True)
class Distribution:
    """A cumulative curve: ``share`` percent of requests (ITL: gaps) took at most ``ms``; below 100 if some failed."""

    ms: Floats
    share: Floats


@dataclass(frozen=True)
class Latency:
    """A run's latency curves by metric (the keys of ``CURVES``); a metric nobody has is an empty curve."""

    run: Run
    curves: Mapping[str, Distribution]


def latency_of(run: Run, requests: Mapping[str, Column], iterations: Mapping[str, Column]) -> Latency:
    """Reduce a run's requests (``COLUMNS``) and ``ITERATION_COLUMNS`` to curves of at most a few hundred points."""
    curves = {key: _distribution(requests[f"{key}_ms"], requests["completed"]) for key in LATENCIES}
    curves["itl"] = _gaps(iterations)
    return Latency(run, {key: curves[key] for key in CURVES})


def _gaps(iterations: Mapping[str, Column]) -> Distribution:
    """Return the curve of inter-token latencies: every decoding request waits for the iteration it takes part in.

    Gaps in which a request was paused (a preemption) span several iterations and are not in it.
    """
    count, requests = iterations["iterations"].astype(np.int64), iterations["decode_requests"]
    rows = np.flatnonzero((count > 0) & (requests > 0))
    if not len(rows):
        return Distribution(np.array([]), np.array([]))
    parts = np.minimum(count[rows], _GAPS_A_STRETCH)
    row = np.repeat(rows, parts)
    part = np.arange(len(row)) - np.repeat(np.cumsum(parts) - parts, parts)
    share = count[row] / np.repeat(parts, parts)
    # The middle one of those iterations that this gap stands for; exact for stretches of a few.
    number = part * share + (share - 1) / 2
    ms = (iterations["first_iteration_s"][row] + number * iterations["growth_s"][row]) * 1000
    order = np.argsort(ms, kind="stable")
    upto = np.cumsum((share * requests[row])[order])
    ranks = upto / upto[-1]
    tail = 1 - np.geomspace(1 / upto[-1], 1, _POINTS // 2)
    index = np.searchsorted(ranks, np.concatenate([np.linspace(0, 1, _POINTS), tail]))
    index = np.unique(np.minimum(index, len(ms) - 1))
    return Distribution(ms[order][index], ranks[index] * 100)


def _distribution(values: Column, completed: Column) -> Distribution:
    known = np.sort(values[completed & ~np.isnan(values)].astype(np.float64))
    n = len(known)
    if n == 0:
        return Distribution(np.array([]), np.array([]))
    # Completed requests without a value (one output token has no TPOT) don't count; those that failed do.
    total = n + np.count_nonzero(~completed)
    # Even steps through the body and, as the tail is what people look at, finer ones towards the slowest request.
    tail = n - np.geomspace(1, n, _POINTS // 2)
    index = np.unique(np.concatenate([np.linspace(0, n - 1, _POINTS), tail]).round().astype(np.int64))
    return Distribution(known[index], (index + 1) / total * 100)


def figure_cdf(latencies: Sequence[Latency]) -> "Figure":
    """Draw one cumulative curve a run for TTFT, TPOT, ITL and end-to-end latency, with the SLO limits."""
    looks = style.looks_of([latency.run for latency in latencies])
    title = "Latency of every request: the further left a curve, the faster the run"
    figure, axes = style.panels(len(CURVES), title, height=2.8, columns=2)
    for panel, key in zip(axes, CURVES, strict=True):
        _panel(panel, key, latencies, looks)
    for panel, key in zip(axes, CURVES, strict=True):
        panel.set_ylabel("share of tokens (%)" if key == "itl" else "share of requests (%)")
    # A panel may miss a run that has no such latency, so the legend lists all of them itself.
    for label, look in _legend(latencies, looks).items():
        axes[0].plot([], [], color=look.colour, linestyle=look.dash, label=label)
    style.legend_below(figure, axes[0])
    return figure


def _panel(panel: "Axes", key: str, latencies: Sequence[Latency], looks: Mapping[str, style.Look]) -> None:
    panel.set_title(CURVES[key], pad=16)
    panel.set_ylim(0, 102)
    shown = [latency for latency in latencies if len(latency.curves[key].ms)]
    if not shown:
        style.note(panel, "no request has one")
        return
    low = min(float(np.quantile(latency.curves[key].ms, 0.02)) for latency in shown)
    high = max(float(latency.curves[key].ms[-1]) for latency in shown)
    limits = slo_limits([latency.run for latency in latencies], key)
    unit, per_unit = axis_unit(high)
    low, high, log = axis_range(low, high, limits)
    panel.set_xlim(low / per_unit, high / per_unit)
    if log:
        style.log_axis(panel)
    panel.set_xlabel(f"latency ({unit}{', log scale' if log else ''})")
    for latency, strength in zip(latencies, strengths([latency.run for latency in latencies]), strict=True):
        curve, look = latency.curves[key], looks[latency.run.group]
        if len(curve.ms):
            # A step up at the first value, and a level line to the right edge: the rest never finishes.
            x = np.concatenate([curve.ms[:1], curve.ms, [high]]) / per_unit
            y = np.concatenate([[0], curve.share, curve.share[-1:]])
            order = 2.5 if look.own else 2.0
            panel.step(x, y, where="post", color=look.colour, linestyle=look.dash, alpha=strength, zorder=order)
    for limit in limits:
        style.slo_line(panel, limit, per_unit, f"SLO {milliseconds(limit)}")


def slo_limits(runs: Sequence[Run], key: str) -> list[float]:
    """Return the different limits in ms that the runs put on a latency; none when each run has its own."""
    limits = sorted({run.slo_ms[key] for run in runs if key in run.slo_ms})
    return limits if len(limits) <= 3 else []


def axis_unit(high_ms: float) -> tuple[str, float]:
    """Return the unit for an axis that ends at so many milliseconds, and how many of them it holds."""
    return ("s", 1000.0) if high_ms >= 10_000 else ("ms", 1.0)


def axis_range(low: float, high: float, limits: Sequence[float]) -> tuple[float, float, bool]:
    """Return an axis's ends, wide enough for the limits too, and whether it must be logarithmic to be read."""
    # A limit far beyond the data would squash them, so such a one may sit outside.
    near = [limit for limit in limits if limit <= 3 * high]
    top = max([high, *near])
    if low > 0 and top / low > _LOG_FROM:
        return min([low, *near]) / 1.15, top * 1.15, True
    return 0.0, top * 1.05 or 1.0, False


def _legend(latencies: Sequence[Latency], looks: Mapping[str, style.Look]) -> dict[str, style.Look]:
    members: dict[str, int] = {}
    for latency in latencies:
        members[latency.run.group] = members.get(latency.run.group, 0) + 1
    labels: dict[str, style.Look] = {}
    for group, count in members.items():
        if looks[group].own:
            rates = f" ({count} runs, darker: higher rate)" if count > 1 else ""
            name = latencies[0].run.name if len(latencies) == 1 else group
            labels[style.shorten(name, 36) + rates] = looks[group]
    others = sum(not looks[group].own for group in members)
    if others:
        labels[f"{others} others (the {len(members) - others} best are in colour)"] = style.Look(style.OTHERS, "solid")
    return labels


def strengths(runs: Sequence[Run]) -> list[float]:
    """Return how strongly to draw each run: within a group, the higher the offered rate, the stronger."""
    found = []
    for run in runs:
        rates = sorted({other.offered_rate for other in runs if other.group == run.group})
        place = len(rates) if math.isnan(run.offered_rate) else rates.index(run.offered_rate) + 1
        found.append(0.25 + 0.75 * place / len(rates))
    return found
