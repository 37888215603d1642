"""``tokenyard validate``: is the simulator right? Its answers beside recorded or measured ones."""

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli import validate_report

app = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes to simulate in; default: one a core.")]
Seed = Annotated[int, typer.Option(min=0, help="The seed of the lengths that the simulated client draws.")]


@app.callback()
def _group() -> None:
    """Compare the simulator with recorded and measured behaviour.

    Every comparison prints signed errors, what it could not simulate and why, and last its verdict; it exits 1 beyond
    the tolerance.

    Example: tokenyard validate schedules recorded_schedules
    """


def parse_tolerance(text: str, option: str = "--tolerance") -> float:
    """Return a percentage such as ``3%`` as a fraction; InputError where it is none."""
    from simulator.core.errors import InputError

    try:
        fraction = float(text.removesuffix("%")) / 100
    except ValueError:
        fraction = -1.0
    if not text.endswith("%") or not 0 <= fraction <= 1:
        raise InputError(f"'{text}' is not a percentage", where=option, hint="write it as 3%")
    return fraction


app.command("report")(validate_report.report)


@app.command("schedules")
def schedules(
    folder: Annotated[Path, typer.Argument(help="Recorded cases: *.json or *.json.gz.", show_default=False)],
    json: Json = False,
    tolerance: Annotated[str, typer.Option(help="Share of cases that may differ, e.g. 1%.")] = "0%",
) -> None:
    """Replay recorded decisions of the real vLLM scheduler and compare every step.

    Exits 1 when more cases differ, or cannot be replayed, than the tolerance allows.

    Example: tokenyard validate schedules recorded_schedules --tolerance 0%
    """
    from simulator.cli.output import print_json, print_rows
    from simulator.cli.validation_tables import print_not_covered
    from simulator.experiment.validation.schedules import validate_folder

    allowed = parse_tolerance(tolerance)
    verdict = validate_folder(folder)
    overall = verdict["overall"]
    differing = [case for case in verdict["groups"] if case["first_difference"] is not None]
    if json:
        print_json(verdict)
    else:
        if differing:
            print_rows(differing, ["case", "steps", "first_difference", "detail"])
        print_not_covered(verdict)
        typer.echo(f"{overall['identical']} of {overall['points']} cases identical over {overall['steps']} steps")
    if len(differing) + overall["not_covered"] > allowed * (overall["points"] + overall["not_covered"]):
        raise typer.Exit(1)


@app.command("points")
def points(
    file: Annotated[Path, typer.Argument(help="CSV of measured serving points.", show_default=False)],
    json: Json = False,
    tolerance: Annotated[str, typer.Option(help="Largest mean absolute error of TPOT that passes.")] = "5%",
    ttft_tolerance: Annotated[str, typer.Option(help="The same of TTFT.")] = "10%",
    group_by: Annotated[
        str | None, typer.Option(help="Columns of the first table, comma-separated: engine,model,concurrency.")
    ] = None,
    seed: Seed = 0,
    workers: Workers = None,
) -> None:
    """Simulate measured closed-loop points, client and all, and compare mean TPOT and TTFT.

    Rows whose flag begins with "doubtful" count for nothing, those with "ttft doubtful" or "queue-saturated" only for
    TPOT.

    Example: tokenyard validate points serving_points.csv --tolerance 5%
    """
    from simulator.cli.point_progress import PointProgress
    from simulator.cli.validation_tables import finish, print_points
    from simulator.experiment.validation.points import GROUPS, validate_points
    from simulator.report.error_text import percent

    allowed, allowed_ttft = parse_tolerance(tolerance), parse_tolerance(ttft_tolerance, "--ttft-tolerance")
    groups = GROUPS if group_by is None else tuple(name.strip() for name in group_by.split(","))
    with PointProgress("points") as progress:
        verdict = validate_points(file, group_by=groups, seed=seed, workers=workers, progress=progress)
    overall = verdict["overall"]
    if not json:
        print_points(verdict, groups)
    tpot, ttft = overall["tpot_mape"], overall["ttft_mape"]
    text = (
        f"TPOT MAPE {percent(tpot)} of {overall['tpot_points']} points (limit {tolerance}), "
        f"TTFT MAPE {percent(ttft)} of {overall['ttft_points']} (limit {ttft_tolerance}), "
        f"{overall['not_covered']} not covered"
    )
    within = overall["points"] > 0 and (tpot or 0.0) <= allowed and (ttft or 0.0) <= allowed_ttft
    finish(verdict, text, within, json=json)


@app.command("requests")
def requests(
    folder: Annotated[Path, typer.Argument(help="A recorded run, or a folder of them.", show_default=False)],
    json: Json = False,
    engine: Annotated[str, typer.Option(help="The engine profile to simulate with: its name, or its YAML.")] = "vllm",
    tolerance: Annotated[str, typer.Option(help="Largest error of a run's mean TTFT, TPOT or latency.")] = "3%",
    workers: Workers = None,
) -> None:
    """Replay recorded runs of a real engine, request by request, and compare mean, p50, p90 and p99.

    A run is a folder with meta.json (engine settings) and requests.jsonl (lengths and times of each request).

    Example: tokenyard validate requests request_runs --tolerance 3%
    """
    from simulator.cli.point_progress import PointProgress
    from simulator.cli.validation_tables import finish, print_runs
    from simulator.experiment.validation.requests import validate_requests

    allowed = parse_tolerance(tolerance)
    with PointProgress("runs") as progress:
        verdict = validate_requests(folder, engine=engine, workers=workers, progress=progress)
    if not json:
        print_runs(verdict)
    text, within = _verdict_on_runs(verdict["overall"], allowed, tolerance)
    missed = verdict["overall"]["not_covered"]
    finish(verdict, f"{text}, {missed} not covered", within and not missed, json=json)


@app.command("open-loop")
def open_loop(
    file: Annotated[Path, typer.Argument(help="CSV of runs at constant rates.", show_default=False)],
    json: Json = False,
    tolerance: Annotated[str, typer.Option(help="Largest mean absolute error of the mean latency.")] = "6%",
    ttft_tolerance: Annotated[str, typer.Option(help="The same of the median TTFT.")] = "12%",
    growth_tolerance: Annotated[str, typer.Option(help="The same of the queue's growth under overload.")] = "10%",
    workers: Workers = None,
) -> None:
    """Simulate runs at constant request rates and compare latencies, or the queue's growth where they were overloaded.

    Example: tokenyard validate open-loop open_loop_points.csv
    """
    from simulator.cli.point_progress import PointProgress
    from simulator.cli.validation_tables import finish, print_stages
    from simulator.experiment.validation.open_loop import validate_open_loop
    from simulator.report.error_text import percent

    limits = (
        ("e2e_mean_mape", parse_tolerance(tolerance)),
        ("ttft_p50_mape", parse_tolerance(ttft_tolerance, "--ttft-tolerance")),
        ("growth_mape", parse_tolerance(growth_tolerance, "--growth-tolerance")),
    )
    with PointProgress("runs") as progress:
        verdict = validate_open_loop(file, workers=workers, progress=progress)
    overall = verdict["overall"]
    if not json:
        print_stages(verdict)
    text = (
        f"latency MAPE {percent(overall['e2e_mean_mape'])} (limit {tolerance}), median TTFT MAPE "
        f"{percent(overall['ttft_p50_mape'])} (limit {ttft_tolerance}) of {overall['points']} stages, "
        f"queue growth MAPE {percent(overall['growth_mape'])} (limit {growth_tolerance}) "
        f"of {overall['overloaded']} overloaded ones"
    )
    covered = overall["points"] + overall["overloaded"] > 0
    finish(verdict, text, covered and all((overall[name] or 0.0) <= limit for name, limit in limits), json=json)


@app.command("saturated")
def saturated(
    file: Annotated[Path, typer.Argument(help="CSV of latencies at a steady batch.", show_default=False)],
    json: Json = False,
    tolerance: Annotated[str, typer.Option(help="Largest mean absolute error of the median ITL.")] = "5%",
    workers: Workers = None,
) -> None:
    """Simulate engines that are kept full and compare the median inter-token latency (ITL).

    Rows of 8 to 768 sequences count.

    Example: tokenyard validate saturated saturated_points.csv
    """
    from simulator.cli.point_progress import PointProgress
    from simulator.cli.validation_tables import finish, print_saturated
    from simulator.experiment.validation.saturated import GROUPS, validate_saturated
    from simulator.report.error_text import percent

    allowed = parse_tolerance(tolerance)
    with PointProgress("points") as progress:
        verdict = validate_saturated(file, workers=workers, progress=progress)
    overall = verdict["overall"]
    if not json:
        print_saturated(verdict, GROUPS)
    text = (
        f"ITL MAPE {percent(overall['itl_mape'])} of {overall['points']} points (limit {tolerance}), "
        f"{overall['not_covered']} not covered"
    )
    finish(verdict, text, overall["points"] > 0 and overall["itl_mape"] <= allowed, json=json)


@app.command("results")
def results(
    file: Annotated[Path, typer.Argument(help="What a benchmark client wrote.", show_default=False)],
    experiment: Annotated[Path, typer.Option(help="The experiment whose cluster served it.", show_default=False)],
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of it. Repeatable.")
    ] = None,
    json: Json = False,
    tolerance: Annotated[str, typer.Option(help="Largest error of a mean TTFT, TPOT or latency.")] = "10%",
) -> None:
    """Hold an experiment against your own benchmark of the same system.

    Reads vllm bench serve (--save-result --save-detailed), AIPerf (profile_export.jsonl) and GuideLLM
    (benchmarks.json). The experiment's workload is replaced by the file's requests.

    Example: tokenyard validate results bench.json --experiment experiments/azure_conv.yaml
    """
    from simulator.cli.validation_tables import finish, print_runs
    from simulator.experiment.load import load_experiment
    from simulator.experiment.validation.results import validate_results

    allowed = parse_tolerance(tolerance)
    verdict = validate_results(file, load_experiment(experiment, sets or []))
    if not json:
        print_runs(verdict)
    finish(verdict, *_verdict_on_runs(verdict["overall"], allowed, tolerance), json=json)


def _verdict_on_runs(overall: dict[str, object], allowed: float, tolerance: str) -> tuple[str, bool]:
    from simulator.report.error_text import percent

    worst, tail, at = overall["worst_mean_error"], overall["worst_tail_error"], overall["worst"]
    if not isinstance(worst, float) or not isinstance(tail, float) or not isinstance(at, dict):
        return "no run could be compared", False
    where = f"{at['metric']} of {at['run']}"
    text = f"worst error of a mean {percent(worst)} ({where}; limit {tolerance}), of p90 and p99 {percent(tail)}"
    return text, worst <= allowed
