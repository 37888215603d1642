"""A run over time on a page: load, queue, batch and KV cache of every instance."""

from collections.abc import Sequence

import numpy as np

from simulator.report import style
from simulator.report.pages.chart import Chart, Trace, View, axis, colour, faint, key, plain
from simulator.report.timeline import Floats, Timeline

MOST_LINES = 8
_ROWS = {
    "arriving": "Arriving (requests/s)",
    "waiting": "Waiting in the queue (requests)",
    "batch": "Running: prefill and decode (requests)",
    "kv": "KV blocks in use (%)",
    "preemptions": "Preemptions (count)",
}
_GAP = 0.075
_MEAN = style.BLUE


def instance_chart(timelines: Sequence[Timeline]) -> Chart:
    """Return a chart with a view a run: a line an instance, or beyond eight instances their mean and range."""
    series = [_series(timeline) for timeline in timelines]
    # One scale for all runs, so that switching between them compares them.
    tops = {name: max(float(each[name].max()) for each in series) for name in _ROWS} | {"kv": 100.0}
    rows = [name for name in _ROWS if name != "preemptions" or tops[name]]
    views = [
        View(_traces(timeline, each, rows), _layout(timeline, rows, tops, each), timeline.run.name)
        for timeline, each in zip(timelines, series, strict=True)
    ]
    slices = len(timelines[0].edges_s) - 1
    return Chart(
        "instances",
        "Load, queue, batch and KV cache by instance",
        "Arrivals, waiting requests, running requests and KV blocks in use over time, a line an instance.",
        views,
        f"Means over {slices} equal slices of time, so shorter peaks are flattened; arrivals are smoothed over more. "
        "Where an instance's queue grows, it no longer keeps up. All runs are drawn to one scale.",
        height=110 + 125 * len(rows),
        selector="instances",
    )


def lines_of(timelines: Sequence[Timeline]) -> list[tuple[str, style.Look]]:
    """Return what the legend of the chart lists: the instances by number, none where only means are drawn."""
    most = max((len(timeline.names) for timeline in timelines if len(timeline.names) <= MOST_LINES), default=0)
    return [(f"instance {i}", _look(i)) for i in range(most)]


def _look(instance: int) -> style.Look:
    return style.Look(style.SERIES[instance], "solid" if instance < style.SOLID else (0, (5, 1.5)))


def _series(timeline: Timeline) -> dict[str, Floats]:
    found = dict(timeline.series)
    return {name: found["prefill"] + found["decode"] if name == "batch" else found[name] for name in _ROWS}


def _traces(timeline: Timeline, series: dict[str, Floats], rows: Sequence[str]) -> list[Trace]:
    time = plain((timeline.edges_s[:-1] + timeline.edges_s[1:]) / 2)
    traces: list[Trace] = []
    for number, name in enumerate(rows, start=1):
        where = {"type": "scatter", "mode": "lines", "x": time, "yaxis": f"y{number}"}
        if len(timeline.names) > MOST_LINES:
            traces += _band(series[name], where)
            continue
        for i, values in enumerate(series[name]):
            look = _look(i)
            dash = "solid" if look.dash == "solid" else "8px,3px"
            traces.append(
                {
                    **where, "name": timeline.names[i], "meta": key("instance", f"instance {i}"),
                    "y": plain(values, 4), "line": {"color": colour(look.colour), "width": 1.4, "dash": dash},
                    "hovertemplate": "%{y:.3g}",
                }
            )  # fmt: skip
    return traces


def _band(values: Floats, where: Trace) -> list[Trace]:
    edge = {**where, "line": {"width": 0}, "hovertemplate": "%{y:.3g}"}
    return [
        {**edge, "name": "lowest", "y": plain(values.min(axis=0), 4)},
        {
            **edge, "name": "highest", "y": plain(values.max(axis=0), 4), "fill": "tonexty",
            "fillcolor": faint(_MEAN, 0.25),
        },
        {
            **where, "name": "mean", "y": plain(values.mean(axis=0), 4), "hovertemplate": "%{y:.3g}",
            "line": {"color": colour(_MEAN), "width": 1.8},
        },
    ]  # fmt: skip


def _layout(
    timeline: Timeline, rows: Sequence[str], tops: dict[str, float], series: dict[str, Floats]
) -> dict[str, object]:
    height = (1 - _GAP * len(rows)) / len(rows)
    layout: dict[str, object] = {}
    titles = []
    for number, name in enumerate(rows):
        top = 1 - number * (height + _GAP) - _GAP / 2
        layout[f"yaxis{number + 1 if number else ''}"] = axis(
            "", 0, 1.06 * tops[name] or 1.0, domain=[max(0.0, top - height), top], nticks=4
        )
        missing = ": size not recorded" if np.isnan(series[name]).all() else ""
        titles.append(
            {"x": 0, "xref": "paper", "xanchor": "left", "y": top, "yref": "paper", "yanchor": "bottom",
             "text": f"<b>{_ROWS[name]}</b>{missing}", "showarrow": False, "font": {"size": 12, "color": "--ink"}}
        )  # fmt: skip
    if len(timeline.names) > MOST_LINES:
        titles[0]["text"] = f"{titles[0]['text']}: mean and range over {len(timeline.names)} instances"
    bottom = "y" if len(rows) == 1 else f"y{len(rows)}"
    layout["xaxis"] = axis("simulated time (s)", 0, float(timeline.edges_s[-1]), anchor=bottom)
    layout["annotations"] = titles
    layout["hovermode"] = "x"
    return layout
