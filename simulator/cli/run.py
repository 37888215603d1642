"""``tokenyard run``: simulate an experiment and write its results."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli.loading import keep_loaded, loading

if TYPE_CHECKING:
    from simulator.experiment.load import LoadedExperiment
    from simulator.experiment.runner import ExperimentResult
    from simulator.experiment.sweeps.sweep import Sweep


def run(
    file: Annotated[Path, typer.Argument(help="The experiment's YAML.", show_default=False)],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: cluster.instances[*].count=8. Repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the results folder goes.")] = Path("results"),
    json: Annotated[bool, typer.Option("--json", help="Print summary.json and nothing else.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no plots and no HTML report.")] = False,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Write a trace of every run for Perfetto, as 'tokenyard timeline' does.")
    ] = False,
    exact_steps: Annotated[
        bool, typer.Option("--exact-steps", help="Step every iteration: slower, same results.")
    ] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Override the experiment's seed.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Points of a sweep at a time; default: one on each core.")
    ] = None,
    backend: Annotated[
        str, typer.Option(help="Who runs a sweep's points: local, dask:ADDRESS, ray or ray:ADDRESS.")
    ] = "local",
    force: Annotated[bool, typer.Option("--force", help="Run a sweep's points again that are done already.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list a sweep's points, which are done, and how long the rest takes.")
    ] = False,
) -> None:
    """Simulate an experiment and write its results.

    Example: tokenyard run experiments/quickstart.yaml --set seed=1

    Results go to OUT/NAME: config.resolved.yaml, summary.json, summary.csv, requests.parquet, iterations.parquet,
    spans.parquet, plots and report.html. Ctrl-C writes what has finished and exits 130. A sweep runs on all cores,
    keeps each point in OUT/NAME/points once it is done, and goes on with the missing ones when called again.
    """
    with loading():
        from simulator.cli.output import check_writable, note, out_console, print_json
        from simulator.core.errors import InputError
        from simulator.experiment.load import load_experiment

        # A policy given as module:Class may live beside where the command is typed.
        sys.path.append(str(Path.cwd()))
        loaded = load_experiment(file, [*(sets or []), *([] if seed is None else [f"seed={seed}"])])
    sweeps = not loaded.base.sweep.empty
    asked = {"--jobs": jobs, "--backend": backend != "local", "--force": force, "--dry-run": dry_run}
    if not sweeps and (options := [option for option, given in asked.items() if given]):
        raise InputError(f"'{file.name}' has no sweep", where=options[0], hint="add 'sweep:' or leave the option out")
    try:
        if dry_run:
            from simulator.cli.sweep_output import print_plan

            print_plan(_sweep(loaded, out, exact_steps, force), jobs, json)
            return
        check_writable(out / loaded.name)
        if sweeps:
            result = _run_sweep(_sweep(loaded, out, exact_steps, force), backend, jobs)
        else:
            result = _run_all(loaded, out, exact_steps)
    except InputError as error:
        raise loaded.locate(error) from None
    except KeyboardInterrupt:
        note("interrupted: nothing had finished")
        raise typer.Exit(130) from None

    # Printed before the report is drawn: nobody should wait for plots to see the figures, or lose them with the plots.
    if json:
        print_json(result.summary)
    else:
        if "comparison" in result.summary:
            from simulator.cli.sweep_output import print_comparison

            print_comparison(result.summary["comparison"])
        else:
            from simulator.report.table import print_summary

            print_summary(result.summary, out_console())
        typer.echo(f"\nResults: {result.folder}")
    if result.interrupted:
        note(f"interrupted: what had finished is in {result.folder}")
        raise typer.Exit(130)
    if not no_report:
        from simulator.report import write_report

        for path in write_report(result.folder):
            if path.suffix != ".svg" and not json:  # each plot is a PNG, too
                typer.echo(f"  {path}")
    if timeline:
        from simulator.report import write_timelines

        for path in write_timelines(result.folder):
            if not json:
                typer.echo(f"  {path}")


def _run_all(loaded: "LoadedExperiment", out: Path, exact_steps: bool) -> "ExperimentResult":
    from simulator.cli.progress import Progress
    from simulator.experiment.runner import run_experiment

    keep_loaded()
    with Progress() as progress:
        return run_experiment(loaded, out, exact_steps=exact_steps, progress=progress)


def _sweep(loaded: "LoadedExperiment", out: Path, exact_steps: bool, force: bool) -> "Sweep":
    from simulator.experiment.sweeps.sweep import Sweep

    return Sweep(loaded, out, exact_steps=exact_steps, force=force)


def _run_sweep(sweep: "Sweep", backend: str, jobs: int | None) -> "ExperimentResult":
    from simulator.cli.output import note
    from simulator.cli.progress import PointsProgress
    from simulator.experiment.sweeps.workers import WorkerLost, Workers

    workers = Workers.parse(backend, jobs)
    try:
        with PointsProgress() as progress:
            return sweep.run(workers, progress)
    except WorkerLost as error:
        note(f"Error: {error} What had finished is kept; the same command goes on with the rest.")
        raise typer.Exit(1) from None
