"""Where a request's time goes: waiting, prefill, decoding."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.report import style
from simulator.report.headline import milliseconds
from simulator.report.latency import axis_unit
from simulator.report.percentiles import label_rows, rows_shown
from simulator.report.results import Column, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("completed", "arrival_s", "admitted_s", "first_token_s", "finished_s")
PHASES = {
    "waiting": ("waiting in the queue", style.WAITING, "white"),
    "prefill": ("prefill, to the first token", style.PREFILL, "black"),
    "decode": ("decoding, to the last token", style.DECODE, "black"),
}
_INCHES_PER_LETTER = 0.085


@dataclass(frozen=True)
class TimeSpent:
    """A run's mean milliseconds by phase over its completed requests, NaN when none completed."""

    run: Run
    mean_ms: Mapping[str, float]


def time_spent(run: Run, requests: Mapping[str, Column]) -> TimeSpent:
    """Average a run's requests (``COLUMNS``) by phase."""
    moments = [requests[name][requests["completed"]] for name in COLUMNS[1:]]
    spans = zip(PHASES, moments[:-1], moments[1:], strict=True)
    return TimeSpent(
        run, {phase: float(np.mean(end - start)) * 1000 if len(start) else math.nan for phase, start, end in spans}
    )


def figure_time_spent(spent: Sequence[TimeSpent], *, narrow: bool = False) -> "Figure":
    """Draw stacked bars a run, to the first token and to the last: mean time waiting, in prefill and decoding."""
    names = {run.name for run in rows_shown([row.run for row in spent])}
    rows = [row for row in spent if row.run.name in names]
    title = "Where a request's time goes: mean over completed requests"
    figure, (first, whole) = style.panels(2, title, narrow=narrow, height=1.0 + 0.36 * len(rows))
    first.set_title("Until the first token")
    whole.set_title("Until the last token")
    inches = 2.6 if narrow else 3.9
    _stack(first, rows, ("waiting", "prefill"), inches)
    _stack(whole, rows, tuple(PHASES), inches)
    label_rows(first, [row.run for row in rows], len(rows), narrow=narrow)
    label_rows(whole, [row.run for row in rows] if narrow else None, len(rows), narrow=narrow)
    style.legend_below(figure, whole, narrow=narrow)
    return figure


def _stack(panel: "Axes", rows: Sequence[TimeSpent], phases: Sequence[str], inches: float) -> None:
    totals = [sum(row.mean_ms[phase] for phase in phases) for row in rows]
    longest = max([total for total in totals if total > 0], default=1.0)
    unit, per_unit = axis_unit(longest * 4)
    left = np.zeros(len(rows))
    for phase in phases:
        label, colour, ink = PHASES[phase]
        widths = np.array([row.mean_ms[phase] for row in rows])
        panel.barh(range(len(rows)), widths / per_unit, left=left / per_unit, height=0.66, color=colour, label=label)
        for i, width in enumerate(np.nan_to_num(widths)):
            text = milliseconds(float(width))
            if width / longest * inches > _INCHES_PER_LETTER * len(text):
                middle = (left[i] + width / 2) / per_unit
                words = panel.text(middle, i, text, ha="center", va="center", fontsize=8, color=ink)
                words.set_in_layout(False)
        left = left + np.nan_to_num(widths)
    for i, total in enumerate(totals):
        missing = math.isnan(total)
        text = "none completed" if missing else milliseconds(total)
        style.value_label(panel, text, 0.0 if missing else total / per_unit, i, bold=True)
    panel.set_xlim(0, longest * 1.22 / per_unit)
    panel.set_xlabel(f"mean time of a request ({unit})")
