"""Latency on a page: how it is distributed, and whether it held over time."""

from collections.abc import Sequence

import numpy as np

from simulator.report import style
from simulator.report.attainment import Attainment
from simulator.report.headline import milliseconds
from simulator.report.latency import CURVES, Latency, axis_range, axis_unit, slo_limits, strengths
from simulator.report.pages.chart import Chart, Trace, View, axis, joined, key, line, mark_x, mark_y, plain
from simulator.report.results import Run

# All curves of a chart together: enough for every pixel of a few, and a page of forty runs stays small.
_MOST_POINTS = 9000


def cdf_charts(latencies: Sequence[Latency]) -> list[Chart]:
    """Return one chart a latency (TTFT, TPOT, ITL, end to end) with a cumulative curve a run."""
    return [_cdf(name, latencies) for name in CURVES if any(len(each.curves[name].ms) for each in latencies)]


def _cdf(name: str, latencies: Sequence[Latency]) -> Chart:
    runs = [each.run for each in latencies]
    shown = [each for each in latencies if len(each.curves[name].ms)]
    low = min(float(np.quantile(each.curves[name].ms, 0.02)) for each in shown)
    high = max(float(each.curves[name].ms[-1]) for each in shown)
    limits = slo_limits(runs, name)
    unit, per_unit = axis_unit(high)
    low, high, log = axis_range(low, high, limits)
    looks = style.looks_of(runs)
    # The runs with a colour of their own are drawn last, on top.
    paired = sorted(zip(latencies, strengths(runs), strict=True), key=lambda pair: looks[pair[0].run.group].own)
    of = "tokens" if name == "itl" else "requests"
    marks = [mark_x(at / per_unit, f"SLO {milliseconds(at)}", log=log) for at in limits if at <= high]
    layout = {
        "xaxis": axis(f"latency ({unit}{', log scale' if log else ''})", low / per_unit, high / per_unit, log=log),
        "yaxis": axis(f"share of {of} (%)", 0, 102),
        **joined(marks),
    }
    most = max(60, _MOST_POINTS // len(latencies))
    traces = [
        _curve(each, name, per_unit, high, looks[each.run.group], strength, unit, most)
        for each, strength in paired
        if len(each.curves[name].ms)
    ]
    label = f"{CURVES[name]}: cumulative share of {of}, a curve a run."
    return Chart(f"cdf-{name}", CURVES[name], label, [View(traces, layout)], height=290)


def _curve(
    latency: Latency, name: str, per_unit: float, high: float, look: style.Look, strength: float, unit: str, most: int
) -> Trace:
    curve = latency.curves[name]
    every = np.unique(np.linspace(0, len(curve.ms) - 1, min(most, len(curve.ms))).round().astype(np.int64))
    ms, share = curve.ms[every], curve.share[every]
    # A step up at the first value, and a level line to the right edge: the rest never finishes.
    x = np.concatenate([ms[:1], ms, [max(high, ms[-1])]]) / per_unit
    y = np.concatenate([[0], share, share[-1:]])
    return {
        "type": "scatter", "mode": "lines", "name": latency.run.name, "meta": key("run", latency.run.group),
        "x": plain(x), "y": plain(y), "line": {**line(look), "shape": "hv"}, "opacity": round(strength, 2),
        "hovertemplate": f"%{{y:.1f}} % within %{{x:.4g}} {unit}",
    }  # fmt: skip


def attainment_chart(attainments: Sequence[Attainment], target: float) -> Chart:
    """Return the share of good requests over arrival time, a line a run, with the ``target`` (a fraction)."""
    runs = [each.run for each in attainments]
    looks = style.looks_of(runs)
    paired = sorted(zip(attainments, strengths(runs), strict=True), key=lambda pair: looks[pair[0].run.group].own)
    traces = [
        {
            "type": "scatter", "mode": "lines+markers" if len(each.share) < 12 else "lines", "name": each.run.name,
            "meta": key("run", each.run.group), "x": plain((each.edges_s[:-1] + each.edges_s[1:]) / 2),
            "y": plain(each.share), "line": line(looks[each.run.group]), "opacity": round(strength, 2),
            "customdata": plain(each.arrived), "hovertemplate": "%{y:.1f} % of %{customdata} requests",
        }
        for each, strength in paired
    ]  # fmt: skip
    last = max(float(each.edges_s[-1]) for each in attainments)
    layout = {
        "xaxis": axis("arrival, simulated time (s)", 0, last * 1.01),
        "yaxis": axis("within the SLO (%)", 0, 104),
        "hovermode": "x unified",
        **mark_y(target * 100, f"{target:.0%}"),
    }
    return Chart(
        "slo-over-time",
        "Requests within the SLO, by when they arrived",
        "Share of requests within the SLO over the time they arrived, a line a run.",
        [View(traces, layout)],
        f"At most {max(len(each.share) for each in attainments)} slices of equal time; a point is the mean of its "
        "slice. A line that falls and stays down is a cluster that no longer keeps up.",
    )


def goodput_charts(runs: Sequence[Run], groups: dict[str, list[Run]]) -> list[Chart]:
    """Return goodput and SLO attainment (without an SLO: throughput) over the offered load, a line a group."""
    judged = any(run.metric("request_goodput") >= 0 for run in runs)
    looks = style.looks_of(runs)
    name, what = ("request_goodput", "goodput") if judged else ("request_throughput", "throughput")
    top = max(run.offered_rate for members in groups.values() for run in members) * 1.05
    load = axis("offered load (requests/s)", 0, top)
    diagonal: Trace = {
        "type": "scatter", "mode": "lines", "x": [0, top], "y": [0, top], "hoverinfo": "skip",
        "line": {"color": "--muted", "width": 1, "dash": "dot"},
    }  # fmt: skip

    def lines(metric: str, scale: float, shown: str) -> list[Trace]:
        ordered = sorted(groups, key=lambda group: looks[group].own)
        return [
            {
                "type": "scatter", "mode": "lines+markers", "name": group, "meta": key("run", group),
                "x": plain(run.offered_rate for run in groups[group]),
                "y": plain(run.metric(metric) * scale for run in groups[group]),
                "line": line(looks[group]), "marker": {"size": 6}, "hovertemplate": shown,
            }
            for group in ordered
        ]  # fmt: skip

    served = View(
        [diagonal, *lines(name, 1.0, f"{what} %{{y:.3g}} of %{{x:.3g}} requests/s")],
        {"xaxis": load, "yaxis": axis(f"{what} (requests/s)", 0, top)},
    )
    title = f"{what.capitalize()} against offered load"
    charts = [Chart("goodput", title, f"{title}, a line a variant.", [served], "Dotted: all that is offered.")]
    if judged:
        shares = View(
            lines("slo_attainment", 100.0, "%{y:.1f} % within the SLO at %{x:.3g} requests/s"),
            {"xaxis": load, "yaxis": axis("within the SLO (%)", 0, 104), **mark_y(90, "90%")},
        )
        title = "Share within the SLO against offered load"
        charts.append(Chart("attainment-by-load", title, f"{title}, a line a variant.", [shares]))
    return charts
