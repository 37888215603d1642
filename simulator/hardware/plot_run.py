"""A recorded run drawn: memory by size, how well the fitted profile gives it back, how far a shipped one is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.hardware.compare_run import compare_run
from simulator.hardware.profile import Profile
from simulator.hardware.recorded_run import RecordedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito (2008), told apart by colour-blind readers.
_COLOURS = {"read": "#0072b2", "write": "#d55e00", "copy": "#009e73"}
_TICKS = (0.1, 0.2, 0.5, 0.8, 1, 1.25, 2, 5, 10)
_GRID, _INK = "#d8dee4", "#59636e"


def plot_run(run: RecordedRun, fitted: Profile, shipped: Profile | None, file: Path) -> None:
    """Draw a run and write it to ``file`` (PNG)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    _draw_memory(left, run)
    _draw_ratios(middle, compare_run(run, fitted, rooflines_only=True), "measured over the fitted rooflines")
    if shipped is None:
        right.set_title("no shipped profile of this GPU", loc="left")
        right.set_axis_off()
    else:
        _draw_ratios(right, compare_run(run, shipped), f"measured over the profile {shipped.name}")
    figure.suptitle(f"{run.gpu}, {run.date}", x=0.01, ha="left", weight="bold")
    figure.savefig(file, dpi=130)


def _draw_memory(axes: "Axes", run: RecordedRun) -> None:
    for l2, style in (("cold", "-"), ("hot", ":")):
        rows = run.rows("memory", l2)
        for access, own in rows.groupby("access") if len(rows) else ():
            sizes = own.sort_values("size")
            moved = sizes["size"] * (2 if access == "copy" else 1)
            axes.plot(
                sizes["size"], moved / sizes.seconds / 1e9, style, color=_COLOURS[access], label=f"{access}, {l2} L2"
            )
    axes.set(xscale="log", yscale="log", xlabel="bytes of the buffer", ylabel="GB/s (copy: both ways)")
    axes.set_title("memory", loc="left")
    if axes.lines:
        axes.legend(frameon=False, fontsize=7)
    _finish(axes)


def _draw_ratios(axes: "Axes", rows: Sequence[dict[str, Any]], title: str) -> None:
    places = np.arange(len(rows))[::-1]
    for place, row in zip(places, rows, strict=True):
        axes.plot([row["low"], row["high"]], [place, place], color=_COLOURS["read"], lw=3, alpha=0.4)
        axes.plot(row["ratio"], place, "o", color=_COLOURS["read"])
    axes.axvline(1.0, color=_INK, lw=1, ls="--")
    labels = [f"{row['operator']} {row['type']}\n{row['rests_on']}, {row['points']} points" for row in rows]
    axes.set_yticks(places, labels, fontsize=7)
    ends = [row[name] for row in rows for name in ("low", "high")]
    axes.set(xscale="log", xlabel="median, 10th to 90th percentile")
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.set_xlim(min([0.45, *ends]) / 1.05, max([2.2, *ends]) * 1.05)
    axes.minorticks_off()
    axes.set_title(title, loc="left")
    _finish(axes)


def _finish(axes: "Axes") -> None:
    axes.grid(which="major", color=_GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
