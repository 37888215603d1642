"""A chart of a page, in the words of plotly.js, and the few helpers that all charts share.

Charts are written as plain JSON: building them through plotly's Python classes takes longer than a small run.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simulator.report import style

Trace = dict[str, Any]


@dataclass(frozen=True)
class View:
    """What a chart shows when its page's selector stands at ``name``; a chart without a selector has one view."""

    traces: Sequence[Trace]
    layout: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart: ``label`` is what a screen reader says, ``caption`` tells how to read it, ``height`` is in pixels.

    Charts with several views belong to the selector named ``selector``.
    """

    id: str
    title: str
    label: str
    views: Sequence[View]
    caption: str = ""
    height: int = 300
    selector: str = ""


def plain(values: Iterable[float], digits: int = 5) -> list[float | None]:
    """Return numbers for JSON, to so many significant digits; NaN becomes null, which leaves a gap in a line."""
    return [None if np.isnan(value) else float(f"{value:.{digits}g}") for value in values]


def colour(name: str) -> str:
    """Return a colour as the page knows it: those that differ in dark mode by the name of their CSS variable."""
    for variable, value in style.PAGE_COLOURS.items():
        if value == name:
            return f"--{variable}"
    return name


def faint(name: str, alpha: float) -> str:
    """Return a colour (``#rrggbb``) made see-through."""
    shown = colour(name)
    if shown.startswith("--"):
        return f"{shown}/{alpha:g}"
    red, green, blue = (int(name[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def line(look: style.Look, width: float = 2.0) -> dict[str, Any]:
    """Return how plotly draws a line of this look."""
    return {"color": colour(look.colour), "width": width, "dash": "solid" if look.dash == "solid" else "8px,3px"}


def key(scope: str, name: str) -> str:
    """Return what a legend's button and the traces it hides have in common, as a trace's ``meta``."""
    return f"{scope}:{name}"


def axis(title: str, low: float, high: float, *, log: bool = False, **more: Any) -> dict[str, Any]:
    """Return an axis from ``low`` to ``high``."""
    ends = [float(np.log10(low)), float(np.log10(high))] if log else [low, high]
    ticks = {"type": "log", **_log_ticks(low, high)} if log else {}
    return {"title": {"text": title}, "range": ends, **ticks, **more}


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    """Return ticks with their values written out: plotly alone shortens 20 to a small 2."""
    steps = (1, 2, 5) if high / low < 250 else (1,)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    values = [float(f"{step}e{power}") for power in powers for step in steps]
    inside = [value for value in values if low <= value <= high]
    return {"tickvals": inside, "ticktext": [f"{value:,.6g}" for value in inside]}


def mark_x(at: float, text: str, *, log: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Return a dashed upright line with its name at the top, as the ``shapes`` and ``annotations`` of a layout."""
    shape = {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "layer": "above",
             "line": {"color": "--ink", "width": 1.2, "dash": "dash"}}  # fmt: skip
    # Annotations on a logarithmic axis are placed by the exponent, shapes by the value.
    place = float(np.log10(at)) if log else at
    note = {"x": place, "y": 1, "yref": "paper", "yanchor": "bottom", "text": text, "showarrow": False,
            "font": {"size": 11, "color": "--ink"}}  # fmt: skip
    return {"shapes": [shape], "annotations": [note]}


def mark_y(at: float, text: str, axis_name: str = "y") -> dict[str, list[dict[str, Any]]]:
    """Return a dashed level line with its name at the right, as the ``shapes`` and ``annotations`` of a layout."""
    shape = {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": at, "y1": at, "yref": axis_name,
             "line": {"color": "--ink", "width": 1.2, "dash": "dash"}}  # fmt: skip
    note = {"x": 1, "xref": "paper", "xanchor": "right", "y": at, "yref": axis_name, "yanchor": "bottom", "text": text,
            "showarrow": False, "font": {"size": 11, "color": "--ink"}}  # fmt: skip
    return {"shapes": [shape], "annotations": [note]}


def joined(marks: Iterable[Mapping[str, list[dict[str, Any]]]]) -> dict[str, list[dict[str, Any]]]:
    """Return several marks as one piece of a layout."""
    both: dict[str, list[dict[str, Any]]] = {"shapes": [], "annotations": []}
    for mark in marks:
        for name, parts in mark.items():
            both[name] += parts
    return both
