"""A run over time: a column an instance while they fit, else a band over all of them."""

from collections.abc import Callable, Mapping, Sequence
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

_Draw = Callable[["Axes", Floats, Floats, str, str], None]


def figure_timeline(timeline: Timeline, *, narrow: bool = False) -> "Figure":
    """Draw offered load, waiting requests, the batch, KV blocks in use and preemptions over time.

    Up to eight instances get a column each; more of them, or a ``narrow`` figure, get mean, lowest and highest.
    """
    from matplotlib.figure import Figure

    count = len(timeline.names)
    band = count > MOST_COLUMNS or (narrow and count > 1)
    columns = 1 if band else count
    rows = 5 if timeline.series["preemptions"].any() else 4
    width = style.NARROW_INCHES if narrow else max(style.WIDE_INCHES, 1.2 + 1.6 * columns)
    title = style.wrap(_title(timeline, band), width)
    # Fixed margins: laying out forty panels to fit takes longer than drawing them.
    figure = Figure(figsize=(width, 1.5 + 1.25 * rows))
    height = figure.get_figheight()
    style.set_title(figure, title, width)
    figure.subplots_adjust(
        left=0.75 / width, right=1 - 0.15 / width, bottom=(1.05 if narrow else 0.85) / height,
        top=1 - (0.55 + 0.22 * title.count("\n") + 0.15) / height, wspace=0.1, hspace=0.22,
    )  # fmt: skip
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey="row")
    unit, seconds = _time_unit(float(timeline.edges_s[-1]))
    middle = (timeline.edges_s[:-1] + timeline.edges_s[1:]) / 2 / seconds
    draw = _draw_band if band else _draw_line
    for j in range(columns):
        chosen = slice(None) if band else slice(j, j + 1)
        _column(list(grid[:, j]), middle, {name: values[chosen] for name, values in timeline.series.items()}, draw)
        top = f"mean and range over {count} instances" if band else timeline.names[j]
        grid[0, j].set_title(style.shorten(top, 60 if columns == 1 else max(12, 100 // columns)))
        grid[-1, j].set_xlim(0, timeline.edges_s[-1] / seconds)
    _scale(list(grid[:, 0]), timeline.series)
    for panel, label in zip(grid[:, 0], _ROWS, strict=False):
        panel.set_ylabel(label)
    figure.align_ylabels(list(grid[:, 0]))
    figure.supxlabel(f"simulated time ({unit})", y=(0.55 if narrow else 0.42) / height, fontsize=9.5)
    _legend(figure, list(grid[:, 0]), height)
    return figure


def _title(timeline: Timeline, band: bool) -> str:
    name = style.shorten(timeline.run.name, 40)
    ask = "do some instances fall behind?" if band else "which instance queues, and is its KV cache full then?"
    if len(timeline.names) == 1:
        ask = "when does it queue, and is the KV cache full then?"
    extra = f" ({timeline.unplaced:,} requests reached no instance)" if timeline.unplaced else ""
    return f"{name} over time: {ask}{extra}"


def _column(panels: "Sequence[Axes]", time: Floats, series: dict[str, Floats], draw: _Draw) -> None:
    draw(panels[0], time, series["arriving"], _ARRIVING, "arriving")
    draw(panels[0], time, series["finishing"], _FINISHING, "finishing")
    draw(panels[1], time, series["waiting"], style.WAITING, "waiting")
    if draw is _draw_line:
        decode, prefill = series["decode"][0], series["prefill"][0]
        panels[2].fill_between(time, decode, color=style.DECODE, linewidth=0, label="decoding")
        panels[2].fill_between(time, decode, decode + prefill, color=style.PREFILL, linewidth=0, label="in prefill")
    else:
        draw(panels[2], time, series["decode"], style.DECODE, "decoding")
        draw(panels[2], time, series["prefill"], style.PREFILL, "in prefill")
    if np.isnan(series["kv"]).all():
        style.note(panels[3], "size not recorded")
    else:
        draw(panels[3], time, series["kv"], _KV, "KV blocks in use")
    if len(panels) > 4:
        draw(panels[4], time, series["preemptions"], style.WAITING, "preemptions")
    for panel in panels:
        panel.tick_params(labelsize=8)
        panel.locator_params(axis="x", nbins=4)
        panel.locator_params(axis="y", nbins=4)


def _scale(panels: "Sequence[Axes]", series: Mapping[str, Floats]) -> None:
    """Start every row at 0 and end it above its largest value, in all columns alike."""
    tops = (
        max(series["arriving"].max(), series["finishing"].max()),
        series["waiting"].max(),
        (series["prefill"] + series["decode"]).max(),
        100.0,
        series["preemptions"].max(),
    )
    for panel, top in zip(panels, tops, strict=False):
        panel.set_ylim(0, 1.06 * top or 1.0)


def _draw_line(panel: "Axes", time: Floats, values: Floats, colour: str, label: str) -> None:
    panel.plot(time, values[0], color=colour, linewidth=1.2, label=label)
    if label in ("waiting", "preemptions"):
        panel.fill_between(time, values[0], color=colour, alpha=0.35, linewidth=0)


def _draw_band(panel: "Axes", time: Floats, values: Floats, colour: str, label: str) -> None:
    panel.fill_between(time, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.3, linewidth=0)
    panel.plot(time, values.mean(axis=0), color=colour, linewidth=1.4, label=label)


def _legend(figure: "Figure", panels: "Sequence[Axes]", height: float) -> None:
    # The other rows hold one thing each, and their axis names it.
    entries = [panels[row].get_legend_handles_labels() for row in (0, 2)]
    handles = [handle for found, _ in entries for handle in found]
    labels = [f"{row}: {label}" for row, (_, found) in zip(("load", "batch"), entries, strict=True) for label in found]
    figure.legend(handles, labels, loc="lower left", bbox_to_anchor=(0.01, 0.02 / height),
                  ncols=4 if figure.get_figwidth() > style.NARROW_INCHES else 2, fontsize=8.5)  # fmt: skip


def _time_unit(seconds: float) -> tuple[str, float]:
    if seconds <= 600:
        return "s", 1.0
    return ("min", 60.0) if seconds <= 4 * 3600 else ("h", 3600.0)
