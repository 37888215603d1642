"""What ``tokenyard run`` prints of a sweep: its points before it runs, and its replicas compared afterwards."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from simulator.experiment.sweeps.sweep import Sweep

# What a decision rests on most often; summary.json has all metrics.
_SHOWN = ("request_goodput", "output_throughput", "p99_ttft_ms", "p99_tpot_ms")
_ANSWERS = {True: "yes", False: "no", None: "too few seeds"}


def print_plan(sweep: "Sweep", jobs: int | None, json: bool) -> None:
    """Print a sweep's points, which of them are done, and how long the rest will take on ``jobs`` processes."""
    from simulator.cli.output import print_json, print_rows
    from simulator.experiment.sweeps.estimate import estimate
    from simulator.experiment.sweeps.sweep import check
    from simulator.experiment.sweeps.workers import Workers

    missing = sweep.missing()
    check(list(missing.values()))
    guess, processes = estimate(sweep), Workers(jobs).count()
    seconds = guess.seconds / max(1, min(processes, len(missing)))
    rows = [{"name": variant.name, "point": key, "done": key not in missing} for key, variant in sweep.keys.items()]
    if json:
        figures = {"points": rows, "missing": len(missing), "jobs": processes, "estimate_s": seconds}
        print_json({**figures, "estimate_from": guess.basis})
        return
    print_rows([row | {"done": "yes" if row["done"] else "no"} for row in rows], ["name", "point", "done"])
    text = f"\n{len(rows)} points, {len(missing)} to run"
    if missing:
        text += f": about {_duration(seconds)} on {processes} processes (from {guess.basis})"
    typer.echo(text)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def print_comparison(comparison: Mapping[str, Any]) -> None:
    """Print each point's mean over its seeds, its difference from its base, and whether that is more than chance."""
    from simulator.cli.output import print_rows
    from simulator.report.headline import METRICS

    chosen = [metric for metric in METRICS if metric.key in _SHOWN]
    if any(point["metrics"].get("request_goodput") for point in comparison["points"]):
        chosen = [metric for metric in chosen if metric.key != "output_throughput"]
    rows = []
    for metric in chosen:
        for point in comparison["points"]:
            estimate = point["metrics"].get(metric.key)
            if estimate is None:
                continue
            row = {
                "metric": metric.label,
                "point": point["name"],
                "mean": f"{_scaled(estimate['mean'], metric.scale)} {metric.unit}",
                "95 % interval": _interval(estimate, metric.scale),
            }
            gap = (point.get("differences") or {}).get(metric.key)
            if gap is not None:
                row |= {
                    "difference": _signed(gap["mean"], gap["relative"], metric.scale),
                    "its 95 % interval": _interval(gap, metric.scale, signed=True),
                    "real?": _ANSWERS[gap["real"]],
                }
            rows.append(row)
    print_rows(rows, list(dict.fromkeys(key for row in rows for key in row)))
    seeds = comparison["seeds"]
    text = f"\nMeans over {len(seeds)} seeds; a difference is from "
    bases = list(dict.fromkeys(point["base"] for point in comparison["points"] if point["base"]))
    text += f"'{bases[0]}'" if len(bases) == 1 else "the first variant at the same values"
    typer.echo(f"{text}, seed by seed; real: its {comparison['confidence']:.0%} interval leaves out zero.")
    if len(seeds) < comparison["fewest_seeds"]:
        typer.echo(
            f"An interval takes {comparison['fewest_seeds']} seeds: write 'seeds: {comparison['fewest_seeds']}'."
        )


def _scaled(value: float, scale: float) -> str:
    from simulator.report.headline import number

    return number(value * scale)


def _signed(value: float, relative: float | None, scale: float) -> str:
    text = ("+" if value > 0 else "") + _scaled(value, scale)
    return text if relative is None else f"{text} ({relative:+.1%})"


def _interval(estimate: Mapping[str, Any], scale: float, *, signed: bool = False) -> str:
    if estimate["low"] is None:
        return ""
    ends = [_signed(estimate[end], None, scale) if signed else _scaled(estimate[end], scale) for end in ("low", "high")]
    return " to ".join(ends)
