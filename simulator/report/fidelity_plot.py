"""Predicted against measured, as scatter plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simulator.report.error_text import group_name
from simulator.report.style import GRID, MUTED, OTHERS, panels, plot_style

# What to read for each panel: predicted, measured, and the column that says whether a row counts (None: all do).
_PANELS = {
    "TPOT": ("tpot_ms", "measured_tpot_ms", "counts_for_tpot"),
    "TTFT": ("ttft_ms", "measured_ttft_ms", "counts_for_ttft"),
    "median ITL": ("itl_ms", "measured_itl_ms", None),
}
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#999933", "#8a6fc2")
_MOST_GROUPS = len(_COLOURS)


def write_scatter(points: Sequence[Mapping[str, Any]], saturated: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a PNG of TPOT, TTFT and ITL, predicted against measured on log axes, with a band of 10 % around equality.

    ``points`` and ``saturated`` are the ``points`` of the two validations; hollow marks are rows that do not count.
    """
    sources = [("TPOT", points), ("TTFT", points), ("median ITL", saturated)]
    sources = [(title, rows) for title, rows in sources if rows]
    with plot_style():
        figure, axes = panels(len(sources), "Predicted against measured", height=4.2)
        for panel, (title, rows) in zip(axes, sources, strict=True):
            _draw(panel, title, rows)
        figure.savefig(path, dpi=130)


def _draw(axes: Any, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    ours, theirs, counts = _PANELS[title]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(_group(row), []).append(row)
    # The largest groups keep a colour of their own.
    order = sorted(groups, key=lambda name: -len(groups[name]))
    for index, name in enumerate(order):
        colour = _COLOURS[index] if index < _MOST_GROUPS else OTHERS
        label = name if index < _MOST_GROUPS else ("others" if index == _MOST_GROUPS else None)
        for counted in (True, False):
            chosen = [row for row in groups[name] if (counts is None or bool(row[counts])) is counted]
            chosen = [row for row in chosen if row[ours] is not None and row[theirs] is not None]
            axes.scatter(
                [row[theirs] for row in chosen],
                [row[ours] for row in chosen],
                s=12,
                label=label if counted else None,
                facecolors=colour if counted else "none",
                edgecolors=colour,
                linewidths=0.6,
                alpha=0.85 if counted else 0.5,
            )
    values = [row[key] for row in rows for key in (ours, theirs) if row[key] is not None]
    low, high = min(values) / 1.3, max(values) * 1.3
    line = [low, high]
    axes.fill_between(line, [0.9 * low, 0.9 * high], [1.1 * low, 1.1 * high], color=GRID, alpha=0.7, zorder=0)
    axes.plot(line, line, color=MUTED, linewidth=0.8, zorder=0)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axes.set(xlabel="measured, ms", ylabel="predicted, ms", title=title)
    axes.legend(fontsize=6.5, loc="lower right", handletextpad=0.2, labelspacing=0.3)


def _group(row: Mapping[str, Any]) -> str:
    return group_name(row, [key for key in ("system", "engine", "model") if key in row])
