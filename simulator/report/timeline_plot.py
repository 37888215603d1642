"""A run over time: a column an instance while they fit, else a band over all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.report import style
from simulator.report.timeline import Floats, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 8
_ARRIVING, _FINISHING, _KV = style.BLUE, "#009e73", "#8a6fc2"
_ROWS = ("load\n(req/s)", "waiting\n(requests)", "batch\n(requests)", "KV blocks\nin use (%)", "preemptions\n(count)")
_GAP = 0.07

_Draw = Callable[["Axes", Floats, Floats, str, str], None]


@dataclass(frozen=True)
class _Columns:
    """Columns side by side on one axis, each of width 1: forty panels of their own take ten times longer to draw."""

    titles: tuple[str, ...]
    span: float

    def starts(self) -> Floats:
        return np.arange(len(self.titles), dtype=np.float64) * (1 + _GAP)

    def positions(self, time: Floats) -> Floats:
        """Return where the slices of every column lie, with a break after each column."""
        within = np.append(time / self.span, np.nan)
        places: Floats = np.add.outer(self.starts(), within).ravel()
        return places

    def ticks(self) -> tuple[list[float], list[str]]:
        """Return places and labels of a few round times in every column."""
        from matplotlib.ticker import MaxNLocator

        values = MaxNLocator(nbins=max(3, 8 // len(self.titles))).tick_values(0, self.span)
        # A label at a column's very end would run into the next one's 0.
        values = [value for value in values if 0 <= value <= self.span * (0.93 if len(self.titles) > 1 else 1)]
        places = [start + value / self.span for start in self.starts() for value in values]
        return places, [f"{value:g}" for value in values] * len(self.titles)


def figure_timeline(timeline: Timeline) -> "Figure":
    """Draw offered load, waiting requests, the batch, KV blocks in use and preemptions over time.

    Up to eight instances get a column each; more of them get mean, lowest and highest.
    """
    count = len(timeline.names)
    band = count > MOST_COLUMNS
    unit, seconds = _time_unit(float(timeline.edges_s[-1]))
    titles = (f"mean and range over {count} instances",) if band else timeline.names
    columns = _Columns(titles, float(timeline.edges_s[-1]) / seconds)
    figure, panels = _frame(timeline, _title(timeline, band), columns, unit)
    time = (timeline.edges_s[:-1] + timeline.edges_s[1:]) / 2 / seconds
    if band:
        _fill(panels, time / columns.span, timeline.series, _draw_band)
    else:
        broken = {name: _with_breaks(values) for name, values in timeline.series.items()}
        _fill(panels, columns.positions(time), broken, _draw_line)
    _scale(panels, timeline.series)
    _legend(figure, panels)
    return figure


def _frame(timeline: Timeline, title: str, columns: _Columns, unit: str) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    rows = 5 if timeline.series["preemptions"].any() else 4
    width = max(style.WIDE_INCHES, 1.2 + 1.6 * len(columns.titles))
    lines = style.wrap(title, width)
    height = 1.5 + 1.25 * rows
    figure = Figure(figsize=(width, height))
    style.set_title(figure, lines, width)
    figure.subplots_adjust(
        left=0.75 / width, right=1 - 0.15 / width, bottom=0.85 / height,
        top=1 - (0.7 + 0.22 * lines.count("\n")) / height, hspace=0.22,
    )  # fmt: skip
    panels = list(figure.subplots(rows, 1, sharex=True))
    starts = columns.starts()
    for panel, label in zip(panels, _ROWS, strict=False):
        panel.set_ylabel(label)
        panel.tick_params(labelsize=8)
        panel.locator_params(axis="y", nbins=4)
        for start in starts[1:]:
            panel.axvspan(start - _GAP, start, color=style.PAPER, zorder=1.6, linewidth=0)
            panel.axvline(start, color=style.MUTED, linewidth=0.8, zorder=1.7)
    for start, name in zip(starts, columns.titles, strict=True):
        name = style.shorten(name, 60 if len(starts) == 1 else max(12, 100 // len(starts)))
        panels[0].annotate(name, (start, 1), xycoords=("data", "axes fraction"), xytext=(0, 6),
                           textcoords="offset points", fontsize=10, fontweight="bold")  # fmt: skip
    panels[-1].set_xlim(0, starts[-1] + 1)
    panels[-1].set_xticks(*columns.ticks())
    figure.align_ylabels(panels)
    figure.supxlabel(f"simulated time ({unit})", y=0.42 / height, fontsize=9.5)
    return figure, panels


def _title(timeline: Timeline, band: bool) -> str:
    name = style.shorten(timeline.run.name, 40)
    ask = "do some instances fall behind?" if band else "which instance queues, and is its KV cache full then?"
    if len(timeline.names) == 1:
        ask = "when does it queue, and is the KV cache full then?"
    extra = f" ({timeline.unplaced:,} requests reached no instance)" if timeline.unplaced else ""
    return f"{name} over time: {ask}{extra}"


def _fill(panels: "Sequence[Axes]", x: Floats, series: Mapping[str, Floats], draw: _Draw) -> None:
    draw(panels[0], x, series["arriving"], _ARRIVING, "arriving")
    draw(panels[0], x, series["finishing"], _FINISHING, "finishing")
    draw(panels[1], x, series["waiting"], style.WAITING, "waiting")
    if draw is _draw_line:
        decode, prefill = series["decode"], series["prefill"]
        panels[2].fill_between(x, decode, color=style.DECODE, linewidth=0, label="decoding")
        panels[2].fill_between(x, decode, decode + prefill, color=style.PREFILL, linewidth=0, label="in prefill")
    else:
        draw(panels[2], x, series["decode"], style.DECODE, "decoding")
        draw(panels[2], x, series["prefill"], style.PREFILL, "in prefill")
    if np.isnan(series["kv"]).all():
        panels[3].text(0.5, 0.5, "size not recorded", transform=panels[3].transAxes, ha="center", color=style.MUTED)
    else:
        draw(panels[3], x, series["kv"], _KV, "KV blocks in use")
    if len(panels) > 4:
        draw(panels[4], x, series["preemptions"], style.WAITING, "preemptions")


def _with_breaks(values: Floats) -> Floats:
    return np.append(values, np.full((len(values), 1), np.nan), axis=1).ravel()


def _draw_line(panel: "Axes", x: Floats, values: Floats, colour: str, label: str) -> None:
    panel.plot(x, values, color=colour, linewidth=1.2, label=label)
    if label in ("waiting", "preemptions"):
        panel.fill_between(x, values, color=colour, alpha=0.35, linewidth=0)


def _draw_band(panel: "Axes", x: Floats, values: Floats, colour: str, label: str) -> None:
    panel.fill_between(x, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.3, linewidth=0)
    panel.plot(x, values.mean(axis=0), color=colour, linewidth=1.4, label=label)


def _scale(panels: "Sequence[Axes]", series: Mapping[str, Floats]) -> None:
    """Start every row at 0 and end it above its largest value."""
    tops = (
        max(series["arriving"].max(), series["finishing"].max()),
        series["waiting"].max(),
        (series["prefill"] + series["decode"]).max(),
        100.0,
        series["preemptions"].max(),
    )
    for panel, top in zip(panels, tops, strict=False):
        panel.set_ylim(0, 1.06 * top or 1.0)


def _legend(figure: "Figure", panels: "Sequence[Axes]") -> None:
    # The other rows hold one thing each, and their axis names it.
    entries = [panels[row].get_legend_handles_labels() for row in (0, 2)]
    handles = [handle for found, _ in entries for handle in found]
    labels = [f"{row}: {label}" for row, (_, found) in zip(("load", "batch"), entries, strict=True) for label in found]
    place = (0.01, 0.02 / figure.get_figheight())
    figure.legend(handles, labels, loc="lower left", bbox_to_anchor=place, ncols=4, fontsize=8.5)


def _time_unit(seconds: float) -> tuple[str, float]:
    if seconds <= 600:
        return "s", 1.0
    return ("min", 60.0) if seconds <= 4 * 3600 else ("h", 3600.0)
