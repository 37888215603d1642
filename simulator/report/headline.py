"""The headline figures: which metrics a table shows, how they are written, and which run is best at each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from simulator.report.results import Run


@dataclass(frozen=True)
class Metric:
    """A row of the headline table: ``key`` in the summary, the words for it, and which way is better."""

    key: str
    label: str
    short: str
    unit: str = ""
    better: Literal["low", "high"] | None = None
    only_if_any: bool = False
    scale: float = 1.0


@dataclass(frozen=True)
class Cell:
    """A figure as text, and whether it is the best of its row."""

    text: str
    best: bool


OFFERED = Metric("offered_rate", "offered load", "load\nreq/s", "req/s")
METRICS = (
    Metric("completed", "requests completed", "done"),
    Metric("failed", "requests failed", "fail", better="low"),
    OFFERED,
    Metric("request_throughput", "throughput", "thru\nreq/s", "req/s", "high"),
    Metric("request_goodput", "goodput (within SLO)", "goodput\nreq/s", "req/s", "high"),
    Metric("slo_attainment", "requests within SLO", "SLO\n%", "%", "high", scale=100.0),
    Metric("output_throughput", "output tokens", "out\ntok/s", "tok/s", "high"),
    Metric("median_ttft_ms", "TTFT median", "TTFT\np50 ms", "ms", "low"),
    Metric("p99_ttft_ms", "TTFT p99", "TTFT\np99 ms", "ms", "low"),
    Metric("median_tpot_ms", "TPOT median", "TPOT\np50 ms", "ms", "low"),
    Metric("p99_tpot_ms", "TPOT p99", "TPOT\np99 ms", "ms", "low"),
    Metric("p99_itl_ms", "inter-token p99", "ITL\np99 ms", "ms", "low"),
    Metric("median_e2el_ms", "end-to-end median", "e2e\np50 s", "s", "low", scale=1e-3),
    Metric("p99_e2el_ms", "end-to-end p99", "e2e\np99 s", "s", "low", scale=1e-3),
    Metric("preemptions", "preemptions", "pre-\nempt", better="low"),
    Metric("kv_transfers", "KV transfers", "KV\nmoves", only_if_any=True),
    Metric("migrations", "migrations", "migr.", only_if_any=True),
    Metric("gpu_hours", "GPU hours", "GPU\nhours", "h", "low"),
    Metric("cost_usd", "cost", "cost\nUSD", "USD", "low"),
    Metric("usd_per_million_output_tokens", "cost of a million output tokens", "USD/M\ntokens", "USD", "low"),
    Metric("energy_j", "energy", "energy\nkJ", "kJ", "low", scale=1e-3),
    Metric("joules_per_output_token", "energy of an output token", "J/\ntoken", "J", "low"),
)


def value_of(run: Run, metric: Metric) -> float:
    """Return a run's figure in the metric's unit, NaN when undefined."""
    raw = run.offered_rate if metric is OFFERED else run.metric(metric.key)
    return raw * metric.scale


def headline(runs: Sequence[Run]) -> list[tuple[Metric, list[Cell]]]:
    """Return the metrics worth showing for these runs, each with one cell a run."""
    rows = []
    for metric in METRICS:
        values = [value_of(run, metric) for run in runs]
        known = [value for value in values if not math.isnan(value)]
        if not known or (metric.only_if_any and not any(known)):
            continue
        cells = zip((_figure(metric, value) for value in values), _bests(metric, runs), strict=True)
        rows.append((metric, [Cell(text, text == best) for text, best in cells]))
    return rows


def mark_meaning(runs: Sequence[Run]) -> str:
    """Return what the mark of a best figure means for these runs."""
    return "best of the runs" if len({_load(run) for run in runs}) == 1 else "best of the runs with that offered load"


MISSING = "-"


def number(value: float) -> str:
    """Return a figure with three or more significant digits, thousands separated; whole numbers stay whole."""
    if math.isnan(value):
        return MISSING
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.995 else f"{value:.3g}"


def milliseconds(value: float) -> str:
    """Return a time given in milliseconds as text in the unit a person would say."""
    return f"{number(value / 1000)} s" if value >= 1000 else f"{number(value)} ms"


def _figure(metric: Metric, value: float) -> str:
    # One late request of ten thousand must not be rounded away to "all of them".
    return f"{min(value, 99.99):.2f}" if metric.unit == "%" and 99.95 <= value < 100 else number(value)


def _bests(metric: Metric, runs: Sequence[Run]) -> list[str | None]:
    """Return for each run the best figure, as printed, of those with its load; ``None`` where all of them are alike."""
    texts: dict[str, dict[float, str]] = {}
    for run in runs:
        value = value_of(run, metric)
        if not math.isnan(value):
            texts.setdefault(_load(run), {})[value] = _figure(metric, value)
    bests: dict[str, str] = {}
    for load, figures in texts.items():
        if metric.better and len(set(figures.values())) > 1:
            bests[load] = figures[min(figures) if metric.better == "low" else max(figures)]
    return [bests.get(_load(run)) for run in runs]


def _load(run: Run) -> str:
    # Only equal loads compare: the lightest one would win every row.
    return number(run.offered_rate)


def difference(metric: Metric, value: float, base: float) -> str:
    """Return by how much a figure differs from the base's: points for shares, else percent; empty if it doesn't."""
    if math.isnan(value) or math.isnan(base) or _figure(metric, value) == _figure(metric, base):
        return ""
    if metric.unit == "%":
        return f"{value - base:+.1f} points" if abs(value - base) >= 0.05 else ""
    if base == 0:
        return ""
    change = (value / base - 1) * 100
    if change >= 900:
        return f"x {value / base:.0f}"
    if abs(change) < 0.05:
        return ""
    return f"{change:+.0f}%" if abs(change) >= 9.5 else f"{change:+.1f}%"


def bases_of(runs: Sequence[Run]) -> list[Run]:
    """Return for each run the one it is compared with: the first run with the same offered load."""
    firsts: dict[str, Run] = {}
    return [firsts.setdefault(_load(run), run) for run in runs]
