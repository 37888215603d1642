"""The page of a plan: which clusters would do, what they cost, and why the others won't."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from simulator.core.errors import InputError
from simulator.report import style
from simulator.report.headline import MISSING, milliseconds, number
from simulator.report.pages.chart import Chart, View, axis, colour, joined, mark_y, plain
from simulator.report.pages.document import Section, chart_html, document, scrolling

_GOOD, _BAD, _FRONT = style.BLUE, style.OTHERS, "#d55e00"
_LATENCIES = {"ttft": "TTFT", "tpot": "TPOT"}
_PERCENTILES = ("p99", "p95", "p90", "median", "mean")
# A miss by orders of magnitude would squash all that is of interest; farther ones are drawn at the edge.
_EDGE = 4.0


@dataclass(frozen=True)
class Candidate:
    """A cluster that was tried; ``price`` is dollars an hour or, where no price is known for all, GPUs."""

    name: str
    gpus: float
    cost: float
    price: float
    metrics: Mapping[str, Any]
    feasible: bool
    reason: str

    def metric(self, name: str) -> float:
        """Return a metric, NaN where there is none."""
        value = self.metrics.get(name)
        return math.nan if value is None else float(value)


def pareto_page(plan: Mapping[str, Any]) -> str:
    """Return the page of a plan (layout: docs/report.md); raise ``InputError`` where it is none."""
    candidates, slo = _candidates(plan), _limits(plan.get("slo") or {})
    winner = plan.get("winner")
    priced = all(not math.isnan(each.cost) for each in candidates)
    unit = "US dollars an hour" if priced else "GPUs"
    charts = [chart for name in _LATENCIES if (chart := _chart(name, candidates, winner, slo, unit)) is not None]
    title = str(plan.get("experiment") or plan.get("name") or "Plan")
    works = sum(each.feasible for each in candidates)
    lead = f"{len(candidates)} clusters tried, {works} of them found to keep the SLO."
    limits = ", ".join(f"{_LATENCIES.get(name, name)} {at} {milliseconds(limit)}" for (name, at), limit in slo.items())
    top = (
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)} {escape(f"SLO: {limits}." if limits else "")}</p>'
        f'<p class="answer">{escape(_answer(candidates, winner, unit))}</p>'
    )
    sections = []
    if charts:
        legend = (
            '<p class="hint">Blue dots keep the SLO. Grey crosses were rejected, for the reason in the table: over a '
            "limit, too dear, or left behind in an early round, whose figures are of less load. The orange line is the "
            "front: nothing that keeps the SLO is both cheaper and faster. The star is the winner. Crosses at the "
            "upper edge lie beyond it.</p>"
        )
        drawn = f'<div class="grid">{"".join(map(chart_html, charts))}</div>'
        sections.append(Section("front", "Cost against latency", drawn + legend))
    sections.append(Section("candidates", "All candidates", _table(candidates, winner, charts, priced)))
    return document(f"{title}: Tokenyard plan", top, sections, charts)


def _candidates(plan: Mapping[str, Any]) -> list[Candidate]:
    try:
        rows = list(plan["candidates"])
        priced = all(row.get("cost_per_hour") is not None for row in rows)
        found = []
        for row in rows:
            gpus = float(row["gpus"])
            cost = math.nan if row.get("cost_per_hour") is None else float(row["cost_per_hour"])
            found.append(
                Candidate(str(row["name"]), gpus, cost, cost if priced else gpus, row.get("metrics") or {},
                          bool(row["feasible"]), str(row.get("reason") or ""))
            )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"not a plan: {error!r}", hint="it holds candidates with name, gpus, feasible") from None
    if not found:
        raise InputError("the plan has no candidates, so there is nothing to draw")
    return found


def _limits(slo: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Return limits in ms by latency and percentile, from ``{"ttft": {"p99": 500}}`` or ``{"ttft_ms": 500}``."""
    limits: dict[tuple[str, str], float] = {}
    for key, value in slo.items():
        name = str(key).removesuffix("_ms")
        if isinstance(value, Mapping):
            limits |= {(name, str(at)): float(limit) for at, limit in value.items() if _is_number(limit)}
        elif name in _LATENCIES and _is_number(value):
            limits[name, "p99"] = float(value)
    return limits


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _percentile(name: str, candidates: Sequence[Candidate], slo: Mapping[tuple[str, str], float]) -> str | None:
    """Return the percentile that the SLO limits, else the highest one that is known."""
    limited = [at for key, at in slo if key == name]
    known = [at for at in (*limited, *_PERCENTILES) if any(c.metric(f"{at}_{name}_ms") >= 0 for c in candidates)]
    return known[0] if known else None


def _chart(
    name: str, candidates: Sequence[Candidate], winner: object, slo: Mapping[tuple[str, str], float], unit: str
) -> Chart | None:
    at = _percentile(name, candidates, slo)
    if at is None:
        return None
    metric = f"{at}_{name}_ms"
    points = [each for each in candidates if each.metric(metric) >= 0]
    good = [each for each in points if each.feasible]
    limit = slo.get((name, at), math.nan)
    high = max((each.metric(metric) for each in good or points), default=1.0)
    edge = _EDGE * max(high, 0.0 if math.isnan(limit) else limit)
    top = min(edge, max(each.metric(metric) for each in points)) * 1.08 or 1.0
    shown = f"%{{text}}<br>%{{customdata}} {at} {_LATENCIES[name]}<br>%{{x:.4g}} {unit}<extra></extra>"

    def scatter(some: Sequence[Candidate], **look: Any) -> dict[str, Any]:
        return {
            "type": "scatter", "mode": "markers", "x": plain(each.price for each in some),
            "y": plain(min(each.metric(metric), edge) for each in some), "text": [_hover(each) for each in some],
            "customdata": [milliseconds(each.metric(metric)) for each in some], "hovertemplate": shown, **look,
        }  # fmt: skip

    front = front_of([(each.price, each.metric(metric)) for each in good])
    traces = [
        scatter([each for each in points if not each.feasible], name="rejected",
                marker={"color": _BAD, "symbol": "x", "size": 8}),
        {"type": "scatter", "mode": "lines", "name": "front", "x": plain(x for x, _ in front),
         "y": plain(y for _, y in front), "line": {"color": _FRONT, "width": 2, "shape": "hv"}, "hoverinfo": "skip"},
        scatter([each for each in good if each.name != winner], name="keeps the SLO",
                marker={"color": colour(_GOOD), "symbol": "circle", "size": 9}),
        scatter([each for each in points if each.name == winner], name="winner",
                marker={"color": _FRONT, "symbol": "star", "size": 17, "line": {"color": "--ink", "width": 1}}),
    ]  # fmt: skip
    marks = [] if math.isnan(limit) else [mark_y(limit, f"SLO {milliseconds(limit)}")]
    layout = {
        "xaxis": axis(unit, 0, max(each.price for each in points) * 1.08 or 1.0),
        "yaxis": axis(f"{_LATENCIES[name]} {at} (ms)", 0, top),
        **joined(marks),
    }
    title = f"{_LATENCIES[name]} {at} against cost"
    label = f"{title}: one mark a cluster, a line along the best ones."
    return Chart(f"front-{name}", title, label, [View(traces, layout)], height=360)


def front_of(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other one is at most as high as in both coordinates, from left to right."""
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def _hover(each: Candidate) -> str:
    reason = f"<br>{escape(each.reason)}" if each.reason and not each.feasible else ""
    return f"<b>{escape(each.name)}</b>{reason}"


def _answer(candidates: Sequence[Candidate], winner: object, unit: str) -> str:
    for each in candidates:
        if each.name == winner:
            gpus = f"{number(each.gpus)} GPU{'s' * (each.gpus != 1)}"
            cost = "" if math.isnan(each.cost) else f", {number(each.cost)} {unit if unit != 'GPUs' else 'USD an hour'}"
            return f'Take "{each.name}": {gpus}{cost}.'
    return "No cluster of those tried keeps the SLO."


def _table(candidates: Sequence[Candidate], winner: object, charts: Sequence[Chart], priced: bool) -> str:
    """Return all candidates: the winner, the others that keep the SLO, the rejected ones; each kind cheapest first."""
    drawn = [chart.title.split(" against")[0] for chart in charts]
    metrics = [f"{at}_{name.lower()}_ms" for name, at in (title.split() for title in drawn)]
    ordered = sorted(candidates, key=lambda c: (c.name != winner, not c.feasible, c.price, c.gpus, c.name))
    heads = ["cluster", "GPUs", "USD an hour", *drawn, "within SLO", "verdict"]
    rows = []
    for each in ordered:
        share = each.metric("slo_attainment")
        cells = [
            number(each.gpus),
            MISSING if math.isnan(each.cost) else number(each.cost),
            *(MISSING if math.isnan(each.metric(name)) else milliseconds(each.metric(name)) for name in metrics),
            MISSING if math.isnan(share) else f"{share * 100:.1f} %",
        ]
        figures = "".join(f"<td>{cell}</td>" for cell in cells)
        verdict = "winner" if each.name == winner else "keeps the SLO" if each.feasible else "rejected"
        best = ' class="best"' if each.name == winner else ""
        why = f"{verdict}: {each.reason}" if each.reason else verdict
        rows.append(
            f'<tr><th scope="row"><span{best}>{escape(each.name)}</span></th>{figures}'
            f'<td class="text">{escape(why)}</td></tr>'
        )
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    note = "" if priced else '<p class="hint">Not every price is known, so clusters are compared by their GPUs.</p>'
    return (
        scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>", "candidates") + note
    )
