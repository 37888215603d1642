"""Figures in tables: the headline with differences, and what replicas say about them."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from simulator.report.headline import (
    METRICS,
    Cell,
    Metric,
    bases_of,
    difference,
    headline,
    mark_meaning,
    number,
    value_of,
)
from simulator.report.pages.document import scrolling
from simulator.report.results import Run

# With more runs than these, a row a run is easier to read than a column a run.
_MOST_COLUMNS = 6
_COMPARED = ("request_goodput", "slo_attainment", "p99_ttft_ms", "p99_tpot_ms", "p99_e2el_ms", "cost_usd")


def headline_html(runs: Sequence[Run]) -> str:
    """Return the headline figures with each run's differences from the first run of the same load."""
    rows = headline(runs)
    upright = len(runs) <= _MOST_COLUMNS
    bases = bases_of(runs)
    cells = [
        [_cell(metric, cell, run, base) for cell, run, base in zip(found, runs, bases, strict=True)]
        for metric, found in rows
    ]
    titles = [_title(metric) for metric, _ in rows]
    names = [escape(run.name) for run in runs]
    table = (
        _table(names, titles, cells) if upright else _table(titles, names, list(map(list, zip(*cells, strict=True))))
    )
    hints = [f"Check mark: {mark_meaning(runs)}."] if any(cell.best for _, found in rows for cell in found) else []
    firsts = list(dict.fromkeys(base.name for base in bases))
    if len(firsts) < len(runs):
        against = f'"{firsts[0]}"' if len(firsts) == 1 else "the first run with the same offered load"
        hints.append(f"Small figures: difference from {against}; green is better, red is worse.")
    return scrolling(table, "headline figures") + f'<p class="hint">{escape(" ".join(hints))}</p>'


def models_html(runs: Sequence[Run]) -> str:
    """Return what the requests of each model went through, a row a run and model; empty where runs serve one model."""
    rows = [(run, name, metrics) for run in runs for name, metrics in run.by_model.items()]
    shown = [metric for metric in METRICS if any(metrics.get(metric.key) is not None for _, _, metrics in rows)]
    cells = [[_plain_cell(metric, metrics.get(metric.key)) for metric in shown] for _, _, metrics in rows]
    names = [escape(f"{run.name}: {name}") for run, name, _ in rows]
    if not rows:
        return ""
    return scrolling(_table([_title(metric) for metric in shown], names, cells), "figures by model")


def _plain_cell(metric: Metric, value: float | None) -> str:
    return f"<td>{'-' if value is None else number(value * metric.scale)}</td>"


def _title(metric: Metric) -> str:
    return escape(metric.label) + (f" <small>{escape(metric.unit)}</small>" if metric.unit else "")


def _cell(metric: Metric, cell: Cell, run: Run, base: Run) -> str:
    now, before = value_of(run, metric), value_of(base, metric)
    text = "" if base is run else difference(metric, now, before)
    better = metric.better and ("better" if (now < before) == (metric.better == "low") else "worse")
    small = f'<small class="{better or ""}">{escape(text)}</small>' if text else ""
    figure = f'<span class="best">{escape(cell.text)}</span>' if cell.best else escape(cell.text)
    return f"<td>{figure}{small}</td>"


def _table(heads: Sequence[str], firsts: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    rows = (f'<tr><th scope="row">{first}</th>{"".join(row)}</tr>' for first, row in zip(firsts, cells, strict=True))
    return f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def replicas_html(comparison: Mapping[str, Any]) -> str:
    """Return what ``summary.json`` says under ``comparison``: means over seeds, and which differences are real."""
    points = comparison["points"]
    metrics = [metric for metric in METRICS if metric.key in _COMPARED]
    shown = [metric for metric in metrics if any(point["metrics"].get(metric.key) for point in points)]
    cells = [[_estimate(metric, point) for metric in shown] for point in points]
    table = _table([_title(metric) for metric in shown], [escape(point["name"]) for point in points], cells)
    text = (
        f"Mean over {len(comparison['seeds'])} seeds with its {comparison['confidence']:.0%} interval; below it the "
        f"difference from the base ({comparison['method']}). Real: the interval leaves out zero."
    )
    return scrolling(table, "means over seeds") + f'<p class="hint">{escape(text)}</p>'


def _estimate(metric: Metric, point: Mapping[str, Any]) -> str:
    found = point["metrics"].get(metric.key)
    if not found or found["mean"] is None:
        return "<td>-</td>"
    text = number(found["mean"] * metric.scale)
    if found["low"] is not None:
        text += f" <small>{number(found['low'] * metric.scale)} to {number(found['high'] * metric.scale)}</small>"
    change = (point.get("differences") or {}).get(metric.key)
    if not change or change["mean"] is None:
        return f"<td>{text}</td>"
    verdict = {True: "real", False: "may be chance", None: "too few seeds"}[change["real"]]
    gap = f"{change['mean'] * metric.scale:+.3g}"
    if change["relative"] is not None and metric.unit != "%":
        gap = f"{change['relative'] * 100:+.1f}%"
    return f"<td>{text}<small>{gap}, <b>{verdict}</b></small></td>"
