"""Goodput against the rate at which requests are offered."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from simulator.report import style
from simulator.report.headline import number
from simulator.report.latency import axis_range
from simulator.report.results import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TARGET = 0.9


def has_rates(runs: Sequence[Run]) -> bool:
    """Tell whether some group of runs was offered at least two different rates."""
    return any(len({run.offered_rate for run in members}) > 1 for members in groups_by_rate(runs).values())


def figure_goodput(runs: Sequence[Run]) -> "Figure":
    """Draw goodput and SLO attainment over the offered rate, a line a group; without SLO, throughput and p99 TTFT."""
    judged = any(not math.isnan(run.metric("request_goodput")) for run in runs)
    what = "Goodput" if judged else "Throughput"
    title = f"{what} against offered load: past its capacity, a line leaves the diagonal"
    figure, (left, right) = style.panels(2, title, height=3.6)
    looks = style.looks_of(runs)
    for group, members in groups_by_rate(runs).items():
        look = looks[group]
        x = [run.offered_rate for run in members]
        how: dict[str, Any] = {
            "color": look.colour,
            "linestyle": look.dash,
            "marker": "o",
            "markersize": 4.5,
            "zorder": 2 + look.own,
        }
        label = style.shorten(group, 36) if look.own else "others"
        if look.own and judged:
            label += f" ({_verdict(capacity(members), x[-1])})"
        # A leading underscore keeps a line out of the legend: one entry stands for all the others.
        label = f"_{label}" if label in left.get_legend_handles_labels()[1] else label
        left.plot(x, [run.metric("request_goodput" if judged else "request_throughput") for run in members],
                  label=label, **how)  # fmt: skip
        right.plot(x, [run.metric("slo_attainment") * 100 if judged else run.metric("p99_ttft_ms") for run in members],
                   **how)  # fmt: skip
    top = max(run.offered_rate for run in runs if not math.isnan(run.offered_rate)) * 1.05
    left.plot([0, top], [0, top], color=style.MUTED, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    left.annotate("all that is offered", (top * 0.5, top * 0.5), xytext=(-5, 5), textcoords="offset points", ha="right",
                  fontsize=8, color=style.MUTED)  # fmt: skip
    left.set_title("Requests served within the SLO" if judged else "Requests served")
    left.set_ylabel(f"{what.lower()} (req/s)")
    for panel in (left, right):
        panel.set_xlim(0, top)
        panel.set_xlabel("offered load (req/s)")
    left.set_ylim(0, top)
    if judged:
        right.set_title("Share of requests within the SLO")
        right.set_ylabel("SLO attainment (%)")
        right.set_ylim(0, 104)
        right.axhline(TARGET * 100, color=style.INK, linestyle=(0, (4, 3)), linewidth=1.2)
        right.annotate(f"{TARGET:.0%}", (0, TARGET * 100), xytext=(3, -3), textcoords="offset points", va="top",
                       fontsize=8)  # fmt: skip
    else:
        right.set_title("Time to first token, p99")
        known = [run.metric("p99_ttft_ms") for run in runs if run.metric("p99_ttft_ms") > 0]
        low, high, log = axis_range(min(known, default=0.0), max(known, default=1.0), ())
        right.set_ylim(low, high)
        right.set_ylabel(f"TTFT p99 (ms{', log scale' if log else ''})")
        if log:
            style.log_axis(right, "y")
    style.legend_below(figure, left)
    return figure


def groups_by_rate(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of each group that were offered a known rate, lowest rate first."""
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.offered_rate):
        if not math.isnan(run.offered_rate):
            groups.setdefault(run.group, []).append(run)
    return {group: groups[group] for group in dict.fromkeys(run.group for run in runs) if group in groups}


def capacity(members: Sequence[Run]) -> float:
    """Return the highest offered rate up to which every run met the target, NaN when the first already missed it."""
    highest = math.nan
    for run in members:
        if not run.metric("slo_attainment") >= TARGET:
            break
        highest = run.offered_rate
    return highest


def _verdict(kept: float, highest: float) -> str:
    if kept == highest:
        return f"{TARGET:.0%} throughout"
    return f"below {TARGET:.0%} throughout" if math.isnan(kept) else f"{TARGET:.0%} up to {number(kept)} req/s"
