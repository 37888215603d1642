"""The sections that a run's report and a comparison have in common."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from simulator.report import goodput, style
from simulator.report.pages.chart import Chart, colour
from simulator.report.pages.document import (
    Section,
    alternatives,
    chart_html,
    css_colour,
    legend_html,
    selector_html,
)
from simulator.report.pages.findings import Findings
from simulator.report.pages.instance_charts import instance_chart, lines_of
from simulator.report.pages.latency_charts import attainment_chart, cdf_charts, goodput_charts
from simulator.report.pages.tables import headline_html, models_html, replicas_html
from simulator.report.pages.time_spent import mean_chart, phases_legend, worst_chart, worst_table
from simulator.report.pages.trust import ran_on_html, trust_html
from simulator.report.results import Run

# Lists charts as the page's and returns the HTML they stand in.
_Place = Callable[[Iterable[Chart]], str]

_CDF_HINT = (
    "The further left a curve, the faster. At a latency on the horizontal axis, the curve's height is the share that "
    "was at least that fast; one that ends below 100 % had requests that failed. Curves go through several hundred "
    "points, most of them in the tail. ITL counts every token once and leaves out gaps in which a request was paused."
)


def sections_of(found: Findings, comparison: Mapping[str, Any]) -> tuple[list[Section], list[Chart]]:
    """Return the sections about these runs, in reading order, and the charts that stand in them."""
    runs = found.runs
    charts: list[Chart] = []

    def place(some: Iterable[Chart]) -> str:
        new = list(some)
        charts.extend(new)
        drawn = "".join(map(chart_html, new))
        return f'<div class="grid">{drawn}</div>' if len(new) > 1 else drawn

    sections = [Section("figures", "Figures", headline_html(runs))]
    if by_model := models_html(runs):
        sections.append(Section("models", "By model", by_model))
    if comparison:
        sections.append(Section("replicas", "Are the differences real?", replicas_html(comparison)))
    if goodput.has_rates(runs):
        drawn = place(goodput_charts(runs, goodput.groups_by_rate(runs)))
        sections.append(Section("load", "Under rising load", drawn))
    curves = cdf_charts(found.latencies)
    if curves:
        strength = " Within a colour, the stronger a line, the higher the load." if goodput.has_rates(runs) else ""
        hint = f'<p class="hint">{escape(_CDF_HINT + strength)}</p>'
        sections.append(Section("latency", "Latency", place(curves) + hint))
    if found.attainments:
        sections.append(Section("slo", "SLO over time", place([attainment_chart(found.attainments, goodput.TARGET)])))
    if found.timelines:
        sections.append(Section("instances-section", "Instances over time", _over_time(found, place)))
    sections.append(Section("time", "Where time goes", _time(found, place)))
    sections.append(Section("ran-on", "What ran", ran_on_html(runs)))
    sections.append(Section("trust", "How far to trust this", trust_html(runs)))
    return sections, charts


def _over_time(found: Findings, place: _Place) -> str:
    chart = instance_chart(found.timelines)
    names = [each.run.name for each in found.timelines]
    lines = [(name, name, css_colour(colour(look.colour)), look.dash != "solid")
             for name, look in lines_of(found.timelines)]  # fmt: skip
    legend = legend_html("instance", "Instances: show or hide", lines)
    return selector_html(chart.selector, "Run", names) + legend + place([chart]) + _left_out(found, len(names))


def _time(found: Findings, place: _Place) -> str:
    parts = [phases_legend(found.spent), place([mean_chart(found.spent)])]
    names = [each.run.name for each in found.worst]
    judged = any(run.slo_ms for run in found.runs)
    what = "nearest to their limit, or farthest beyond it" if judged else "that took longest"
    parts.append(f"<h3>The worst requests: completed ones {what}</h3>")
    parts.append(selector_html("worst", "Run", names))
    if any(each.requests for each in found.worst):
        parts.append(place([worst_chart(found.worst)]))
    parts.append(alternatives("worst", map(worst_table, found.worst)))
    return "".join(parts) + _left_out(found, len(names))


def _left_out(found: Findings, shown: int) -> str:
    more = len(found.runs) - shown
    if not more:
        return ""
    text = f"The most loaded run of each of the best variants; {more} other runs are left out here."
    return f'<p class="hint">{text}</p>'


def run_legend(runs: Sequence[Run]) -> str:
    """Return buttons that show and hide the runs in all charts, one a group; none for a single group."""
    looks = style.looks_of(runs)
    if len(looks) < 2:
        return ""
    sizes: dict[str, int] = {}
    for run in runs:
        sizes[run.group] = sizes.get(run.group, 0) + 1
    entries = [
        (group, f"{group} ({sizes[group]} runs)" if sizes[group] > 1 else group, css_colour(colour(look.colour)),
         look.dash != "solid")
        for group, look in looks.items()
    ]  # fmt: skip
    return legend_html("run", "Runs: show or hide", entries)
