"""A profile drawn: measured points under its rooflines."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simulator.hardware.grid import Float
from simulator.hardware.points import Points, all_reduces, decode_attention, matrix_products
from simulator.hardware.profile import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito (2008), told apart by colour-blind readers.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_INK, _GRID = "#59636e", "#d8dee4"
_MOST_DRAWN = 4000


def plot_profile(profile: Profile, folder: Path) -> list[Path]:
    """Draw matrix products, decode attention and all-reduces into ``folder`` as PNG and SVG; return the files."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    _draw_products(left, profile)
    _draw_decodes(middle, profile)
    _draw_reduces(right, profile)
    for axes in (left, middle, right):
        axes.grid(which="major", color=_GRID, lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{profile.name}: {profile.gpu}", x=0.01, ha="left", weight="bold")
    files = [folder / f"{profile.name}.{ending}" for ending in ("png", "svg")]
    for file in files:
        figure.savefig(file, dpi=130)
    return files


def _draw_products(axes: "Axes", profile: Profile) -> None:
    groups = _grouped(matrix_products(profile.tables), lambda points: points.dtype)
    intensity = np.geomspace(0.5, 2e4, 200)
    for colour, dtype in zip(_COLOURS, _by_size(groups), strict=False):
        flops, size, seconds = _flat(groups[dtype])
        _scatter(axes, flops / size, flops / seconds / 1e12, colour, f"{dtype}: {len(seconds):,} measured")
        if (line := profile.roofline(dtype)) is not None:
            achieved = np.minimum(line.compute, line.bandwidth * intensity) / 1e12
            axes.plot(intensity, achieved, color=colour, lw=2, label=f"{dtype}: fitted rates")
        if (peak := profile.peak.get(dtype)) is not None:
            sheet = np.minimum(peak, profile.memory.bandwidth * intensity) / 1e12
            axes.plot(intensity, sheet, color=colour, lw=1, ls="--")
    _finish(axes, "matrix products", "FLOP per byte moved", "TFLOP/s (dashed: datasheet)", groups)
    axes.set(xscale="log", yscale="log", xlim=(0.5, 2e4), ylim=(0.05, None))


def _draw_decodes(axes: "Axes", profile: Profile) -> None:
    groups = _grouped(decode_attention(profile.tables), lambda points: f"{points.grid.library}, {points.dtype} cache")
    for colour, name in zip(_COLOURS, _by_size(groups), strict=False):
        _, size, seconds = _flat(groups[name])
        _scatter(axes, size, size / seconds / 1e9, colour, f"{name}: {len(seconds):,} measured")
    sizes = np.geomspace(1e3, 1e11, 200)
    line = profile.decode_attention
    curve = sizes / (line.launch + sizes / line.bandwidth) / 1e9
    axes.plot(sizes, curve, color="black", lw=1.5, label="fitted launch and bandwidth")
    axes.axhline(profile.memory.bandwidth / 1e9, color=_INK, lw=1, ls="--")
    _finish(axes, "decode attention", "bytes of KV cache read", "GB/s (dashed: datasheet)", groups)
    axes.set(xscale="log", yscale="log", xlim=(1e4, 1e11), ylim=(1, None))


def _draw_reduces(axes: "Axes", profile: Profile) -> None:
    groups = _grouped(all_reduces(profile.tables), lambda points: points.grid.library)
    dashes = {2.0: ":", 4.0: "--", 8.0: "-"}
    for colour, library in zip(_COLOURS, _by_size(groups), strict=False):
        points = groups[library][0]
        gpus = points.coordinate("gpus")
        for count in np.unique(gpus):
            here = gpus == count
            bus = 2 * (count - 1) / count * points.size[here] / points.seconds[here] / 1e9
            label, dash = f"{library}, {count:.0f} GPUs", dashes.get(float(count), "-.")
            axes.plot(points.size[here], bus, color=colour, ls=dash, marker="o", ms=2.5, lw=1, label=label)
    if profile.allreduce is not None:
        sizes = np.geomspace(1e2, 2e9, 200)
        link, count = profile.allreduce, profile.allreduce.most_gpus
        moved = 2 * (count - 1) / count * sizes
        curve = moved / (link.latency + moved / link.bandwidth) / 1e9
        axes.plot(sizes, curve, color="black", lw=1.5, label="the profile's latency and bandwidth")
    _finish(axes, "all-reduce", "bytes on each GPU", "bus bandwidth, GB/s", groups)
    axes.set(xscale="log", yscale="log")


def _scatter(axes: "Axes", x: Float, y: Float, colour: str, label: str) -> None:
    # Evenly thinned: a page of dots shows the same, and the SVG stays small.
    step = max(1, len(x) // _MOST_DRAWN)
    axes.scatter(x[::step], y[::step], s=4.0, alpha=0.35, lw=0.0, color=colour, label=label, rasterized=True)


def _finish(axes: "Axes", title: str, x: str, y: str, groups: dict[str, list[Points]]) -> None:
    axes.set_title(title, loc="left")
    axes.set(xlabel=x, ylabel=y)
    if groups:
        for handle in axes.legend(frameon=False, fontsize=7, markerscale=2).legend_handles:
            if handle is not None:
                handle.set_alpha(1.0)
    else:
        axes.text(0.5, 0.6, "no tables", transform=axes.transAxes, ha="center", color=_INK)


def _grouped(kernels: Iterable[Points], name: Callable[[Points], str]) -> dict[str, list[Points]]:
    groups: dict[str, list[Points]] = {}
    for points in kernels:
        if len(points.seconds):
            groups.setdefault(name(points), []).append(points)
    return groups


def _by_size(groups: dict[str, list[Points]]) -> list[str]:
    return sorted(groups, key=lambda name: -sum(len(points.seconds) for points in groups[name]))


def _flat(group: list[Points]) -> tuple[Float, Float, Float]:
    return (
        np.concatenate([points.flops for points in group]),
        np.concatenate([points.size for points in group]),
        np.concatenate([points.seconds for points in group]),
    )
