"""From results folders to plots and pages."""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.core.errors import InputError
from simulator.report import attainment, breakdown, latency, style
from simulator.report.file_names import free_names
from simulator.report.goodput import figure_goodput, has_rates
from simulator.report.pages.comparison_page import comparison_page
from simulator.report.pages.findings import Findings, findings_of
from simulator.report.pages.pareto_page import pareto_page
from simulator.report.pages.run_page import run_page
from simulator.report.percentiles import figure_percentiles
from simulator.report.results import read_results
from simulator.report.timeline_plot import figure_timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS_PER_INCH = 130
# Two decimals of a point are finer than a pixel and spare a third of the file.
_PATH = re.compile(r'(?<= d=")[^"]*')
_DECIMALS = re.compile(r"(\.\d\d)\d+")


def write(folder: Path) -> list[Path]:
    """Draw every plot of a results folder and write its page; return the paths written, page last."""
    results = read_results(folder)
    if not results.runs:
        raise InputError("no run finished, so there is nothing to report", where=str(folder / "summary.json"))
    found = findings_of(results.tables)
    plots = folder / "plots"
    written: list[Path] = []
    with _writing(folder):
        plots.mkdir(exist_ok=True)
        with style.plot_style():
            for name, draw in _drawings(found):
                figure = draw()
                png, svg = plots / f"{name}.png", plots / f"{name}.svg"
                figure.savefig(png, dpi=_DOTS_PER_INCH, metadata={"Software": None})
                figure.set_layout_engine("none")  # It is laid out now; doing that again takes longest of all.
                svg.write_text(_svg(figure), encoding="utf-8")
                written += [png, svg]
        # What an earlier report of this folder drew and this one didn't would now tell of other results.
        for old in set(plots.glob("*.png")) | set(plots.glob("*.svg")):
            if old not in written:
                old.unlink()
        report = folder / "report.html"
        report.write_text(run_page(results, found), encoding="utf-8")
    return [*written, report]


def write_comparison_page(folders: Sequence[Path], out: Path) -> Path:
    """Write a page over several results folders to the file ``out``; return it."""
    results = [read_results(folder) for folder in folders]
    for each in results:
        if not each.runs:
            raise InputError("no run finished, so there is nothing to compare", where=str(each.folder / "summary.json"))
    with _writing(out):
        out.write_text(comparison_page(results), encoding="utf-8")
    return out


def write_plan_page(plan: Mapping[str, Any], out: Path) -> Path:
    """Write a plan's page to the file ``out``; return it."""
    with _writing(out):
        out.write_text(pareto_page(plan), encoding="utf-8")
    return out


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"the report cannot be written: {reason}", where=str(error.filename or place), hint="give another --out"
        ) from None


def _drawings(found: Findings) -> Iterator[tuple[str, "Callable[[], Figure]"]]:
    """Yield each plot's name and what draws it."""
    runs = found.runs
    yield "percentiles", partial(figure_percentiles, runs)
    yield "latency_cdf", partial(latency.figure_cdf, found.latencies)
    yield "time_spent", partial(breakdown.figure_time_spent, found.spent)
    if found.attainments:
        yield "slo_over_time", partial(attainment.figure_attainment, found.attainments)
    if has_rates(runs):
        yield "goodput", partial(figure_goodput, runs)
    for name, timeline in zip(free_names(each.run.name for each in found.timelines), found.timelines, strict=True):
        yield f"timeline-{name}", partial(figure_timeline, timeline)


def _svg(figure: "Figure") -> str:
    text = io.StringIO()
    # Without its date the file is the same for the same results.
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return _PATH.sub(lambda path: _DECIMALS.sub(r"\1", path.group()), text.getvalue())
