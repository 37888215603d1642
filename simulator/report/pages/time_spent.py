"""Where requests' time went: the mean of every run, and the worst requests one by one."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from simulator.report.breakdown import PHASES, TimeSpent
from simulator.report.headline import milliseconds, number
from simulator.report.pages.chart import Chart, Trace, View, plain
from simulator.report.pages.document import css_colour, scrolling
from simulator.report.percentiles import MOST_ROWS
from simulator.report.worst import Worst, WorstRequest

_COLUMNS = {
    "arrival_s": "arrived at (s)",
    "instance": "instance",
    "prompt_tokens": "prompt (tokens)",
    "output_tokens": "output (tokens)",
    "preemptions": "preemptions",
}


def mean_chart(spent: Sequence[TimeSpent]) -> Chart:
    """Return stacked bars, one a run: mean seconds of a completed request by phase."""
    rows = [each for each in spent if not any(map(math.isnan, each.mean_ms.values()))][:MOST_ROWS]
    traces = _bars([each.run.name for each in rows], [{k: v / 1000 for k, v in each.mean_ms.items()} for each in rows])
    left_out = f" The first {len(rows)} of {len(spent)} runs." if len(rows) < len(spent) else ""
    return Chart(
        "time-spent",
        "A request's time by phase: mean over completed requests",
        "Mean time of a request by phase, a bar a run.",
        [View(traces, _layout("mean time of a request (s)"))],
        "Waiting: arrival at the cluster to first admission. Prefill: to the first token. Decoding: to the last one."
        + left_out,
        height=90 + 34 * max(1, len(rows)),
    )


def worst_chart(found: Sequence[Worst]) -> Chart:
    """Return stacked bars with a view a run, one bar a request: seconds by phase, the worst request on top."""
    views = [
        View(
            _bars([f"#{each.request}" for each in worst.requests], [each.phases_s for each in worst.requests]),
            _layout("time since arrival (s)"),
            worst.run.name,
        )
        for worst in found
    ]
    return Chart(
        "worst",
        "Where the time of the worst requests went",
        "Time by phase of the worst requests, a bar a request.",
        views,
        height=90 + 26 * max(1, *(len(worst.requests) for worst in found)),
        selector="worst",
    )


def phases_legend(spent: Sequence[TimeSpent]) -> str:
    """Return what the colours of the bars mean."""
    present = {phase for each in spent for phase in each.mean_ms}
    items = "".join(
        f'<span class="swatch"><i style="background:{css_colour(shade)}"></i>{escape(label)}</span>'
        for phase, (label, shade, _) in PHASES.items()
        if phase in present
    )
    return f'<p class="hint swatches">{items}</p>'


def worst_table(worst: Worst) -> str:
    """Return the facts of a run's worst requests, and why others failed."""
    failed = "".join(f"<li>{count:,} failed: {escape(reason)}</li>" for reason, count in worst.failures.items())
    failures = f"<ul>{failed}</ul>" if failed else ""
    if not worst.requests:
        return f"<p>No request completed.</p>{failures}"
    limits = {name: worst.run.slo_ms.get(name, math.nan) for name in ("ttft", "tpot", "e2el")}
    judged = bool(worst.run.slo_ms)
    heads = [*(["worst / limit"] if judged else []), "TTFT", "TPOT", "end to end", *_COLUMNS.values()]
    rows = []
    for each in worst.requests:
        cells = [f"{each.over:.2f}"] if judged else []
        cells += [_latency(each, name, limit) for name, limit in limits.items()]
        cells += [number(each.facts[name]) for name in _COLUMNS]
        body = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">#{each.request}</th>{body}</tr>')
    head = "".join(f'<th scope="col">{text}</th>' for text in ["request", *heads])
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return scrolling(table, f"worst requests of {worst.run.name}") + failures


def _latency(request: WorstRequest, name: str, limit: float) -> str:
    value = request.facts[f"{name}_ms"]
    if math.isnan(value):
        return "-"
    text = milliseconds(value)
    return f'<b class="worse">{text}</b>' if value > limit else text


def _bars(names: Sequence[str], seconds: Sequence[Mapping[str, float]]) -> list[Trace]:
    traces: list[Trace] = []
    for phase, (label, shade, _) in PHASES.items():
        values = [row.get(phase, 0.0) for row in seconds]
        if any(phase in row for row in seconds):
            traces.append(
                {
                    "type": "bar", "orientation": "h", "name": label, "y": list(names), "x": plain(values),
                    "marker": {"color": shade}, "hovertemplate": f"%{{x:.4g}} s {label}<extra>%{{y}}</extra>",
                }
            )  # fmt: skip
    return traces


def _layout(title: str) -> dict[str, object]:
    # Names that look like numbers stay names; the first bar is on top.
    names = {"type": "category", "autorange": "reversed", "ticksuffix": " ", "showgrid": False}
    return {
        "barmode": "stack",
        "bargap": 0.3,
        "yaxis": names,
        "xaxis": {"title": {"text": title}, "rangemode": "tozero"},
    }
