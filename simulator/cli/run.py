"""``tokenyard run``: simulate an experiment and write its results."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def run(
    file: Annotated[Path, typer.Argument(help="The experiment's YAML.", show_default=False)],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: cluster.instances[*].count=8. Repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the results folder goes.")] = Path("results"),
    json: Annotated[bool, typer.Option("--json", help="Print summary.json and nothing else.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no plots and no HTML report.")] = False,
    exact_steps: Annotated[
        bool, typer.Option("--exact-steps", help="Step every iteration: slower, same results.")
    ] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Override the experiment's seed.")] = None,
) -> None:
    """Simulate an experiment and write its results.

    Example: tokenyard run experiments/quickstart.yaml --set seed=1

    Results go to OUT/NAME: config.resolved.yaml, summary.json, summary.csv, requests.parquet, iterations.parquet,
    plots and report.html. Ctrl-C writes what has finished and exits 130.
    """
    from simulator.cli.output import check_writable, note, out_console, print_json
    from simulator.cli.progress import Progress
    from simulator.core.errors import InputError
    from simulator.experiment.load import load_experiment

    # A policy given as module:Class may live beside where the command is typed.
    sys.path.append(str(Path.cwd()))
    loaded = load_experiment(file, [*(sets or []), *([] if seed is None else [f"seed={seed}"])])
    check_writable(out / loaded.name)

    from simulator.experiment.runner import run_experiment

    try:
        with Progress() as progress:
            result = run_experiment(loaded, out, exact_steps=exact_steps, progress=progress)
    except InputError as error:
        raise loaded.locate(error) from None
    except KeyboardInterrupt:
        note("interrupted: nothing had finished")
        raise typer.Exit(130) from None

    # Printed before the report is drawn: nobody should wait for plots to see the figures, or lose them with the plots.
    if json:
        print_json(result.summary)
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
