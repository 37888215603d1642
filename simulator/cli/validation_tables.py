"""How validations look on a terminal: signed errors in percent, one row a group."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from simulator.cli.output import note, print_json, print_rows
from simulator.report.error_text import group_name, percent, reasons, stage_name, with_bias


def finish(verdict: Mapping[str, Any], text: str, within: bool, *, json: bool) -> None:
    """Print the verdict as the last line (with ``json``: the whole result, the line on stderr); exit 1 if it failed."""
    if json:
        print_json({**verdict, "verdict": {"text": text, "within": within}})
        note(text)
    else:
        typer.echo(text)
    if not within:
        raise typer.Exit(1)


def print_points(verdict: Mapping[str, Any], group_by: Sequence[str]) -> None:
    """Print errors of points by group and by region."""
    print_rows([_named(_scores(group), group_by) for group in verdict["groups"]], ["group", *_SCORES])
    for name, rows in verdict["regions"].items():
        typer.echo("")
        print_rows([_scores(row) for row in rows], [name, *_SCORES])
    print_not_covered(verdict)
    _print_assumptions(verdict)
    noise = verdict["overall"]["replicate_spread"]
    if noise is not None:
        typer.echo(f"\nNoise floor: repeated measurements of a point differ by {percent(noise)} (median).")


_SCORES = ("points", "TPOT_(bias)", "TTFTs", "TTFT_(bias)", "flagged")


def _named(row: dict[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    return {**row, "group": group_name(row, columns)}


def _scores(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "TPOT_(bias)": with_bias(row["tpot_mape"], row["tpot_bias"]),
        "TTFTs": row["ttft_points"],
        "TTFT_(bias)": with_bias(row["ttft_mape"], row["ttft_bias"]),
        "flagged": percent(row["ttft_flagged_bias"], signed=True),
    }


def print_runs(verdict: Mapping[str, Any]) -> None:
    """Print signed errors of runs, a row for each run and metric."""
    rows = []
    for run in verdict["groups"]:
        for metric, errors in run["errors"].items():
            signed = {at: percent(error, signed=True) for at, error in errors.items()}
            measured = f"{run['measured_ms'][metric]['mean']:.1f}"
            rows.append({"name": run["run"], "metric": metric, "mean_ms": measured, **signed})
    print_rows(rows, ["name", "metric", "mean_ms", "mean", "p50", "p90", "p99"])
    print_not_covered(verdict)
    _print_assumptions(verdict)


def print_stages(verdict: Mapping[str, Any]) -> None:
    """Print signed errors of open-loop stages, those that kept up first."""
    kept_up = [stage for stage in verdict["groups"] if "errors" in stage]
    names = ("ttft_mean", "ttft_p50", "ttft_p99", "tpot_mean", "e2e_mean")
    rows = [
        {"run": stage_name(stage), "rate": stage["request_rate"]}
        | {name: percent(stage["errors"].get(name), signed=True) for name in names}
        for stage in kept_up
    ]
    print_rows(rows, ["run", "rate", *names])
    overloaded = [
        {
            "run": stage_name(stage),
            "rate": stage["request_rate"],
            "queue_grows": f"{stage['measured_growth']:.3f}",
            "simulated": f"{stage['predicted_growth']:.3f}",
            "error": percent(stage["growth_error"], signed=True),
        }
        for stage in verdict["groups"]
        if "growth_error" in stage
    ]
    if overloaded:
        typer.echo("\nOverloaded, and by how many requests a second the queue grows:")
        print_rows(overloaded, ["run", "rate", "queue_grows", "simulated", "error"])
    print_not_covered(verdict)
    _print_assumptions(verdict)


def print_saturated(verdict: Mapping[str, Any], group_by: Sequence[str]) -> None:
    """Print errors of saturated points by group and by batch."""

    def row(scores: Mapping[str, Any]) -> dict[str, Any]:
        return {**scores, "ITL_(bias)": with_bias(scores["itl_mape"], scores["itl_bias"])}

    print_rows([_named(row(group), group_by) for group in verdict["groups"]], ["group", "points", "ITL_(bias)"])
    for name, rows in verdict["regions"].items():
        typer.echo("")
        print_rows([row(each) for each in rows], [name, "points", "ITL_(bias)"])
    print_not_covered(verdict)
    _print_assumptions(verdict)


def print_not_covered(verdict: Mapping[str, Any]) -> None:
    """Print what could not be simulated: each reason once, with how often and where first."""
    if verdict["not_covered"]:
        typer.echo("\nNot covered:")
        found = reasons(verdict["not_covered"])
        print_rows([{"points": count, "reason": why, "first": first} for why, count, first in found], _MISSED)


_MISSED = ("points", "reason", "first")


def _print_assumptions(verdict: Mapping[str, Any]) -> None:
    if verdict["assumptions"]:
        typer.echo("\nAssumed:")
    for line in verdict["assumptions"]:
        typer.echo(f"- {line}")
