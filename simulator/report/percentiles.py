"""Latency percentiles as bars, against the SLO."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from simulator.report import style
from simulator.report.headline import milliseconds
from simulator.report.latency import LATENCIES, axis_range, axis_unit, slo_limits
from simulator.report.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A run is one bar in four strengths, the next percentile beginning where the one before it ends.
PERCENTILES = {"median": 1.0, "p90": 0.72, "p95": 0.5, "p99": 0.28}
MOST_ROWS = 40


def figure_percentiles(runs: Sequence[Run]) -> "Figure":
    """Draw median, p90, p95 and p99 of TTFT, TPOT and end-to-end latency, a bar a run, with the SLO limits."""
    looks = style.looks_of(runs)
    shown = rows_shown(runs)
    judged = any(slo_limits(runs, key) for key in LATENCIES)
    title = "Latency percentiles: "
    title += "a bar that ends left of the SLO line keeps it even at p99" if judged else "the shorter, the faster"
    if len(shown) < len(runs):
        title += f" ({len(shown)} best of {len(runs)} runs)"
    elif not all(look.own for look in looks.values()):
        title += f" ({sum(look.own for look in looks.values())} best of {len(looks)} in colour)"
    height = 1.0 + 0.3 * len(shown)
    figure, axes = style.panels(len(LATENCIES), title, height=max(1.7, height))
    for i, (panel, key) in enumerate(zip(axes, LATENCIES, strict=True)):
        _panel(panel, key, shown, looks)
        label_rows(panel, shown if i == 0 else None, len(shown))
    for name, strength in PERCENTILES.items():
        axes[0].barh([0], [math.nan], color=style.MUTED, alpha=strength, label=name)
    style.legend_below(figure, axes[0])
    return figure


def rows_shown(runs: Sequence[Run]) -> list[Run]:
    """Return the runs a bar chart has room for: all, or those of the best groups."""
    place = {group: i for i, group in enumerate(style.best_first(runs))}
    kept = sorted(runs, key=lambda run: place[run.group])[:MOST_ROWS]
    names = {run.name for run in kept}
    return [run for run in runs if run.name in names]


def label_rows(panel: "Axes", runs: Sequence[Run] | None, count: int) -> None:
    """Name the rows of a bar chart, first run at the top; ``None`` leaves them unnamed."""
    labels = [style.shorten(run.name, 30) for run in runs or ()]
    panel.set_yticks(range(count), labels or [""] * count)
    panel.set_ylim(count - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.grid(visible=False, axis="y")


def _panel(panel: "Axes", key: str, runs: Sequence[Run], looks: Mapping[str, style.Look]) -> None:
    panel.set_title(LATENCIES[key], pad=16)
    values = {name: [run.metric(f"{name}_{key}_ms") for run in runs] for name in PERCENTILES}
    known = [value for row in values.values() for value in row if not math.isnan(value)]
    if not known:
        style.note(panel, "no request has one")
        return
    limits = slo_limits(runs, key)
    unit, per_unit = axis_unit(max(known))
    low, high, log = axis_range(min(known) / 2, max(known), limits)
    # Room for the value written at the end of the longest bar.
    high *= (high / low) ** 0.14 if log else 1.16
    panel.set_xlim(low / per_unit, high / per_unit)
    if log:
        style.log_axis(panel)
    panel.set_xlabel(f"latency ({unit}{', log scale' if log else ''})")
    colours = [looks[run.group].colour for run in runs]
    left = np.zeros(len(runs))
    for name, strength in PERCENTILES.items():
        right = np.array(values[name]) / per_unit
        panel.barh(range(len(runs)), right - left, left=left, height=0.62, color=colours, alpha=strength)
        left = right
    for i, value in enumerate(values["p99"]):
        text = "none" if math.isnan(value) else milliseconds(value)
        at = low / per_unit if math.isnan(value) else value / per_unit
        style.value_label(panel, text, at, i)
    for limit in limits:
        style.slo_line(panel, limit, per_unit, f"SLO {milliseconds(limit)}")
