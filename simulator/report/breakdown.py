"""Where a request's time goes: waiting, prefill, decoding."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.report import style
from simulator.report.headline import milliseconds
from simulator.report.latency import axis_unit
from simulator.report.pauses import pauses_of
from simulator.report.percentiles import label_rows, rows_shown
from simulator.report.results import Column, Run, RunTables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("completed", "arrival_s", "admitted_s", "first_token_s", "finished_s")
PHASES = {
    "lead": ("before the cluster", "#7f8c5a", "white"),
    "waiting": ("waiting in the queue", style.WAITING, "white"),
    "prefill": ("prefill, to the first token", style.PREFILL, "black"),
    "transfer": ("KV moving to a decode instance", "#009e73", "white"),
    "decode": ("decoding, to the last token", style.DECODE, "black"),
    "preempted": ("paused (preempted, or waiting to go on)", "#8a6fc2", "white"),
    "migration": ("paused by a migration", "#cc79a7", "black"),
}
# Phases after the first token that not every run has, and the column of seconds that says how long each took: stored,
# or from the spans and moves.
OPTIONAL = {"transfer": "transfer_s", "preempted": "preempted_s", "migration": "migration_s"}
LEAD = "lead_s"  # the column of seconds spent on the way to the cluster, where a technique takes some
_INCHES_PER_LETTER, _PANEL_INCHES = 0.085, 3.9


@dataclass(frozen=True)
class TimeSpent:
    """A run's mean milliseconds by phase over its completed requests, NaN when none completed."""

    run: Run
    mean_ms: Mapping[str, float]


def read_phases(tables: RunTables, others: Sequence[str] = ()) -> dict[str, Column]:
    """Read what tells a run's phases, and other columns of its requests.

    That is ``COLUMNS``, ``LEAD`` if the file has it, and those of ``OPTIONAL`` that the file has or that follow from
    the spans of its tokens.
    """
    known = tables.request_columns()
    optional = (column for column in (LEAD, *OPTIONAL.values()) if column in known)
    found = tables.requests(tuple(dict.fromkeys(("request", *COLUMNS, *optional, *others))))
    return {**pauses_of(tables, found["request"]), **found}


def phases_of(requests: Mapping[str, Column]) -> dict[str, Column]:
    """Return seconds by phase for every request (columns as of ``read_phases``), in the order of ``PHASES``.

    Phases add up to the time from arrival to finish; they are NaN where the request did not get that far. What took
    place while a request had made its first token is not counted as decoding, nor any time twice.
    """
    lead = np.nan_to_num(requests[LEAD]) if LEAD in requests else np.zeros(len(requests["arrival_s"]))
    found = {
        **({"lead": lead} if lead.any() else {}),
        "waiting": requests["admitted_s"] - requests["arrival_s"] - lead,
        "prefill": requests["first_token_s"] - requests["admitted_s"],
        "decode": requests["finished_s"] - requests["first_token_s"],
    }
    for phase, column in OPTIONAL.items():
        if column in requests:
            found[phase] = np.nan_to_num(requests[column])
            taken = np.minimum(found[phase], np.nan_to_num(found["decode"], nan=np.inf))
            found["decode"] = found["decode"] - taken
            # A pause before the first token lies in the prefill.
            found["prefill"] = found["prefill"] - (found[phase] - taken)
    return {phase: found[phase] for phase in PHASES if phase in found}


def time_spent(run: Run, requests: Mapping[str, Column]) -> TimeSpent:
    """Average a run's completed requests (columns as of ``read_phases``) by phase."""
    done = requests["completed"]
    phases = {phase: seconds[done] for phase, seconds in phases_of(requests).items()}
    return TimeSpent(run, {phase: float(np.mean(s)) * 1000 if len(s) else math.nan for phase, s in phases.items()})


def figure_time_spent(spent: Sequence[TimeSpent]) -> "Figure":
    """Draw stacked bars a run, to the first token and to the last: mean time waiting, in prefill and decoding."""
    names = {run.name for run in rows_shown([row.run for row in spent])}
    rows = [row for row in spent if row.run.name in names]
    title = "Where a request's time goes: mean over completed requests"
    figure, (first, whole) = style.panels(2, title, height=1.0 + 0.36 * len(rows))
    first.set_title("Until the first token")
    whole.set_title("Until the last token")
    present = {phase for row in rows for phase in row.mean_ms}
    _stack(first, rows, tuple(phase for phase in ("lead", "waiting", "prefill") if phase in present))
    _stack(whole, rows, tuple(phase for phase in PHASES if phase in present))
    label_rows(first, [row.run for row in rows], len(rows))
    label_rows(whole, None, len(rows))
    style.legend_below(figure, whole)
    return figure


def _stack(panel: "Axes", rows: Sequence[TimeSpent], phases: Sequence[str]) -> None:
    totals = [sum(row.mean_ms.get(phase, 0.0) for phase in phases) for row in rows]
    longest = max([total for total in totals if total > 0], default=1.0)
    unit, per_unit = axis_unit(longest * 4)
    left = np.zeros(len(rows))
    for phase in phases:
        label, colour, ink = PHASES[phase]
        widths = np.array([row.mean_ms.get(phase, 0.0) for row in rows])
        panel.barh(range(len(rows)), widths / per_unit, left=left / per_unit, height=0.66, color=colour, label=label)
        for i, width in enumerate(np.nan_to_num(widths)):
            text = milliseconds(float(width))
            if width / longest * _PANEL_INCHES > _INCHES_PER_LETTER * len(text):
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
