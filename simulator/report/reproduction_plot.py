"""A paper's figure with ours, from the plain values of a reproduction."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.report.style import INK, MUTED, SERIES, plot_style, set_title, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_INCHES = 4.2
_MOST_COLUMNS = 3


def draw_reproduction(figure: Mapping[str, Any], path: Path) -> None:
    """Draw a figure's panels to a PNG: ours as lines or bars with their spread, the paper's as hollow marks.

    ``figure`` has ``title`` and ``panels``; a panel ``title``, ``x_label``, ``y_label``, ``log_y``, ``limit`` and
    ``series``; a series ``name``, ``x``, ``y``, ``spread`` (a standard deviation each, or None) and ``paper``.
    """
    from matplotlib.figure import Figure

    panels = figure["panels"]
    columns = min(len(panels), _MOST_COLUMNS)
    rows = -(-len(panels) // columns)
    width = max(_PANEL_INCHES * columns, 5.5)
    with plot_style():
        title = wrap(figure["title"], width)
        drawn = Figure(figsize=(width, 3.3 * rows + 0.6 + 0.25 * title.count("\n")), layout="constrained")
        set_title(drawn, title, width)
        grid = list(drawn.subplots(rows, columns, squeeze=False).flat)
        for axes, panel in zip(grid, panels, strict=False):
            _draw(axes, panel)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        drawn.savefig(path, dpi=130)


def _draw(axes: "Axes", panel: Mapping[str, Any]) -> None:
    series = panel["series"]
    colours = _colours(series)
    words = list(dict.fromkeys(x for each in series for x in each["x"] if isinstance(x, str)))
    if words:
        _bars(axes, series, words, colours)
    else:
        _lines(axes, series, colours)
    if panel["limit"] is not None:
        axes.axhline(panel["limit"], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(title=panel["title"], xlabel=panel["x_label"], ylabel=panel["y_label"])
    if panel["log_y"]:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.legend(fontsize=7.5)


def _colours(series: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return a colour for each name: the paper's points have that of ours with the same name, else ink."""
    ours = dict.fromkeys(each["name"] for each in series if not each["paper"])
    found = {name: SERIES[index % len(SERIES)] for index, name in enumerate(ours)}
    return {each["name"]: found.get(each["name"], INK) for each in series}


def _label(each: Mapping[str, Any]) -> str:
    return f"{each['name']} (paper)" if each["paper"] and each["name"] != "paper" else str(each["name"])


def _lines(axes: "Axes", series: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> None:
    for each in series:
        x, y, colour = each["x"], _numbers(each["y"]), colours[each["name"]]
        if each["paper"]:
            axes.plot(x, y, "o", mfc="none", mec=colour, ms=6, label=_label(each), zorder=3)
        else:
            axes.errorbar(x, y, yerr=_spread(each), color=colour, marker=".", capsize=2, label=_label(each))


def _bars(axes: "Axes", series: Sequence[Mapping[str, Any]], words: Sequence[str], colours: Mapping[str, str]) -> None:
    """Draw groups of bars by the words of x; the paper's values are marks across the whole group, or over their bar."""
    names = list(dict.fromkeys(each["name"] for each in series if not each["paper"]))
    each_width = 0.8 / max(len(names), 1)
    for each in series:
        shared = each["name"] not in names
        at = 0.0 if shared else (names.index(each["name"]) - (len(names) - 1) / 2) * each_width
        x = [words.index(word) + at for word in each["x"]]
        y, colour = _numbers(each["y"]), colours[each["name"]]
        if each["paper"]:
            half = 0.42 if shared else each_width / 2
            ends = [value - half for value in x], [value + half for value in x]
            axes.hlines(y, *ends, color=INK, linewidth=1.6, label=_label(each), zorder=3)
        else:
            axes.bar(x, y, each_width * 0.92, yerr=_spread(each), color=colour, capsize=2, label=_label(each))
    axes.set_xticks(range(len(words)), words)
    axes.grid(False, axis="x")


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _spread(each: Mapping[str, Any]) -> list[float] | None:
    return None if each["spread"] is None else _numbers(each["spread"])
