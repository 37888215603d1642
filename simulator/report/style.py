"""How every plot looks: one page of colours, sizes and small helpers, so that a run keeps its colour everywhere."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from simulator.report.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The HTML page swaps these for its own in dark mode, wherever they stand.
INK, MUTED, GRID, PAPER, BLUE = "#1b1f24", "#59636e", "#d8dee4", "#fffffe", "#0072b2"
PAGE_COLOURS = {"ink": INK, "muted": MUTED, "grid": GRID, "paper": PAPER, "blue": BLUE}

# Okabe and Ito (2008), safe for colour-blind readers, without black and yellow, which vanish on one background or the
# other; olive is from Paul Tol's "muted" scheme.
SERIES = (BLUE, "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#999933", "#8a6fc2")
OTHERS = "#9aa4ae"
# Four of the colours are told apart by anybody; beyond them dashes help.
SOLID = 4

# What a request is doing keeps its own colours, unlike any run's.
WAITING, PREFILL, DECODE = "#b5473c", "#e0b26b", "#7f9db3"

WIDE_INCHES = 11.0


@dataclass(frozen=True)
class Look:
    """How a group of runs is drawn; the runs that got no colour of their own share ``OTHERS``."""

    colour: str
    dash: str | tuple[float, tuple[float, ...]]
    own: bool = True


def looks_of(runs: Sequence[Run]) -> dict[str, Look]:
    """Return each group's look: its own colour for up to eight groups, else for the seven best ones."""
    groups = list(dict.fromkeys(run.group for run in runs))
    named = groups if len(groups) <= len(SERIES) else best_first(runs)[: len(SERIES) - 1]
    looks = {group: Look(OTHERS, "solid", own=False) for group in groups}
    for i, group in enumerate(group for group in groups if group in named):
        looks[group] = Look(SERIES[i], "solid" if i < SOLID else (0, (5, 1.5)))
    return looks


def best_first(runs: Sequence[Run]) -> list[str]:
    """Return the groups by SLO attainment, highest first; without an SLO by p99 end-to-end latency, lowest first."""
    scores: dict[str, list[float]] = {}
    for run in runs:
        attainment, latency = run.metric("slo_attainment"), run.metric("p99_e2el_ms")
        score = -attainment if not math.isnan(attainment) else latency
        scores.setdefault(run.group, []).append(math.inf if math.isnan(score) else score)
    return sorted(scores, key=lambda group: sum(scores[group]) / len(scores[group]))


@contextmanager
def plot_style() -> Iterator[None]:
    """Draw and save figures in the house style while this context is open."""
    import matplotlib as mpl

    settings: dict[Any, Any] = {
        "font.size": 9.5, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
        "figure.titlesize": 12, "figure.titleweight": "bold",
        "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": MUTED, "axes.titlecolor": INK,
        "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
        "grid.color": GRID, "axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.7,
        "axes.spines.top": False, "axes.spines.right": False,
        "figure.facecolor": PAPER, "axes.facecolor": PAPER, "savefig.facecolor": PAPER,
        "legend.frameon": False, "lines.linewidth": 1.8, "svg.hashsalt": "tokenyard", "svg.fonttype": "path",
    }  # fmt: skip
    with mpl.rc_context(settings):
        yield


def panels(count: int, title: str, *, height: float, columns: int | None = None) -> "tuple[Figure, list[Axes]]":
    """Return a titled figure of panels in rows of ``columns`` (all in one row); ``height`` is in inches, of one."""
    from matplotlib.figure import Figure

    columns = columns or count
    rows = math.ceil(count / columns)
    lines = wrap(title, WIDE_INCHES)
    figure = Figure(figsize=(WIDE_INCHES, rows * height + 0.25 * lines.count("\n") + 0.6), layout="constrained")
    set_title(figure, lines, WIDE_INCHES)
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, list(grid.flat)


def wrap(title: str, width: float) -> str:
    """Return a title broken into lines that fit a figure of a width in inches."""
    return "\n".join(textwrap.wrap(title, round(width * 9.3)))


def set_title(figure: "Figure", lines: str, width: float) -> None:
    """Put a title at the figure's top left."""
    figure.suptitle(lines, x=0.1 / width, ha="left")


def legend_below(figure: "Figure", axes: "Axes") -> None:
    """List what one panel holds under the whole figure, when there is more than one thing to list."""
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1:
        longest = max(map(len, labels))
        columns = max(1, int(13 // (0.09 * longest + 0.7)))
        figure.legend(handles, labels, loc="outside lower left", ncols=min(columns, len(labels)))


def slo_line(axes: "Axes", limit_ms: float, per_unit: float, label: str) -> None:
    """Mark a latency limit on a panel whose x axis ends are set and counts ``per_unit`` milliseconds."""
    across = _fraction_across(axes, limit_ms / per_unit)
    if across > 1:
        axes.annotate(f"{label} →", (1, 1), xycoords="axes fraction", xytext=(0, 2), textcoords="offset points",
                      ha="right", va="bottom", fontsize=8).set_in_layout(False)  # fmt: skip
        return
    axes.axvline(limit_ms / per_unit, color=INK, linestyle=(0, (4, 3)), linewidth=1.2, zorder=3)
    at_right = across > 0.7
    axes.annotate(
        label,
        (limit_ms / per_unit, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-3 if at_right else 3, 2),
        textcoords="offset points",
        ha="right" if at_right else "left",
        va="bottom",
        fontsize=8,
    ).set_in_layout(False)


def log_axis(axes: "Axes", which: Literal["x", "y"] = "x") -> None:
    """Make an axis whose ends are set logarithmic, with its ticks written out (0.1, 1, 10), not as powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis, (low, high) = (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 250 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_formatter(NullFormatter())


def value_label(axes: "Axes", text: str, at: float, row: int, *, bold: bool = False) -> None:
    """Write a value beside the end of a bar, readable also where an SLO line runs through it."""
    axes.annotate(
        text,
        (at, row),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        fontweight="bold" if bold else "normal",
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.8},
        zorder=4,
    ).set_in_layout(False)


def note(axes: "Axes", text: str) -> None:
    """Say in the middle of an empty panel why it is empty."""
    axes.set_xticks([])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED)


def shorten(name: str, limit: int) -> str:
    """Return a name cut in its middle, where variants differ least, to a number of characters."""
    if len(name) <= limit:
        return name
    head = (limit - 1) // 2
    return f"{name[:head]}…{name[len(name) - (limit - 1 - head) :]}"


def _fraction_across(axes: "Axes", value: float) -> float:
    low, high = axes.get_xlim()
    if axes.get_xscale() == "log":
        low, high, value = math.log(low), math.log(high), math.log(max(value, low))
    return (value - low) / (high - low)
