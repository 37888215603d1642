"""From a results folder to its plots and its page."""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simulator.core.errors import InputError
from simulator.report import breakdown, latency, style
from simulator.report.goodput import figure_goodput, has_rates
from simulator.report.html import Plot, page
from simulator.report.percentiles import figure_percentiles
from simulator.report.results import Results, Run, read_results
from simulator.report.timeline import Timeline, timeline_of
from simulator.report.timeline_plot import figure_timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_TIMELINES = 6
_DOTS_PER_INCH = 130
# Two decimals of a point are finer than a pixel and spare a third of the file.
_PATH = re.compile(r'(?<= d=")[^"]*')
_DECIMALS = re.compile(r"(\.\d\d)\d+")


@dataclass(frozen=True)
class _Drawing:
    """A plot to make: its file's name, what it tells, and how to draw it wide or narrow."""

    name: str
    caption: str
    draw: Callable[[bool], "Figure"]


def write(folder: Path) -> list[Path]:
    """Draw every plot of a results folder and the page that holds them; return the paths written, page last."""
    results = read_results(folder)
    if not results.runs:
        raise InputError("no run finished, so there is nothing to report", where=str(folder / "summary.json"))
    plots = folder / "plots"
    written: list[Path] = []
    shown: list[Plot] = []
    try:
        plots.mkdir(exist_ok=True)
        with style.plot_style():
            for drawing in _drawings(results):
                wide = drawing.draw(False)
                png, svg = plots / f"{drawing.name}.png", plots / f"{drawing.name}.svg"
                wide.savefig(png, dpi=_DOTS_PER_INCH, metadata={"Software": None})
                wide.set_layout_engine("none")  # It is laid out now; doing that again takes longest of all.
                text = _svg(wide)
                svg.write_text(text, encoding="utf-8")
                written += [png, svg]
                shown.append(Plot(drawing.name, drawing.caption, text, _svg(drawing.draw(True))))
        # What an earlier report of this folder drew and this one didn't would now tell of other results.
        for old in set(plots.glob("*.png")) | set(plots.glob("*.svg")):
            if old not in written:
                old.unlink()
        report = folder / "report.html"
        report.write_text(page(results, shown), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"the report cannot be written: {reason}", where=str(error.filename or folder), hint="give another --out"
        ) from None
    return [*written, report]


def _drawings(results: Results) -> Iterator[_Drawing]:
    runs = results.runs
    latencies, spent = [], []
    for run in runs:  # One run's requests in memory at a time.
        requests = results.requests(run.name, (*latency.COLUMNS, *breakdown.COLUMNS[1:]))
        latencies.append(latency.latency_of(run, requests))
        spent.append(breakdown.time_spent(run, requests))
    yield _Drawing(
        "percentiles",
        "Each bar goes from the median (strongest) to p99 (palest), over completed requests. "
        "Dashed: the limit the SLO sets.",
        lambda narrow: figure_percentiles(runs, narrow=narrow),
    )
    yield _Drawing(
        "latency_cdf",
        "How to read it: at a latency on the horizontal axis, the curve's height is the share of all requests that "
        "were at least that fast. A curve that ends below 100 % had requests that failed.",
        lambda narrow: latency.figure_cdf(latencies, narrow=narrow),
    )
    yield _Drawing(
        "time_spent",
        "Waiting is arrival to first admission, prefill is admission to first token, decoding is first to last token.",
        lambda narrow: breakdown.figure_time_spent(spent, narrow=narrow),
    )
    if has_rates(runs):
        yield _Drawing(
            "goodput",
            "Each point is a run. The legend gives the highest offered load up to which every run kept 90 % of its "
            "requests within the SLO.",
            lambda narrow: figure_goodput(runs, narrow=narrow),
        )
    yield from _timelines(results)


def _timelines(results: Results) -> Iterator[_Drawing]:
    chosen = _timeline_runs(results.runs)
    left_out = len(results.runs) - len(chosen)
    names: set[str] = set()
    for run in chosen:
        timeline = timeline_of(results, run)
        if timeline is None:
            continue
        stem = name = f"timeline-{_slug(run.name)}"
        while name in names:
            name = f"{stem}-{len(names)}"
        names.add(name)
        caption = (
            "Means over equal slices of time; the load is smoothed. Where requests arrive faster than they finish, "
            "the queue grows."
        )
        if left_out:
            caption += f" Drawn for the most loaded run of the best variants; {left_out} more runs are left out."
        yield _Drawing(name, caption, partial(_timeline, timeline))


def _timeline(timeline: Timeline, narrow: bool) -> "Figure":
    return figure_timeline(timeline, narrow=narrow)


def _timeline_runs(runs: tuple[Run, ...]) -> list[Run]:
    """Return all runs, or when there are too many to look at, the most loaded one of each of the best groups."""
    if len(runs) <= MOST_TIMELINES:
        return list(runs)
    best = style.best_first(runs)[:MOST_TIMELINES]
    last = {run.group: run for run in sorted(runs, key=lambda run: np.nan_to_num(run.offered_rate))}
    return [run for run in runs if run.group in best and run is last[run.group]]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80] or "run"


def _svg(figure: "Figure") -> str:
    text = io.StringIO()
    # Without its date the file is the same for the same results.
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return _PATH.sub(lambda path: _DECIMALS.sub(r"\1", path.group()), text.getvalue())
