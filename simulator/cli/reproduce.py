"""``tokenyard reproduce``: published results repeated, each with its verdict."""

from pathlib import Path
from typing import Annotated, Any

import typer


def reproduce(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which ones; see --list.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Reproduce all of them.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List them, with their claims.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    out: Annotated[Path | None, typer.Option(help="A folder for the figures; none are drawn without.")] = None,
    data: Annotated[Path | None, typer.Option(help="A folder with public length files.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes to simulate in; default: one a core.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few requests and seeds: a look, no verdict.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Simulate again what the cache holds.")] = False,
) -> None:
    """Repeat published results and say how close ours come.

    For each system: the claim, the set-up, the paper's values, ours with and without calibrated constants, the
    tolerance, and the verdict: reproduced, shape only, or not reproduced. Finished simulations are kept in a cache.

    Example: tokenyard reproduce sarathi --out figures
    """
    from simulator.cli.output import check_writable, note, out_console, print_json
    from simulator.core.errors import InputError
    from simulator.experiment.reproductions.tools.registry import names as known_names
    from simulator.experiment.reproductions.tools.reproduce import setup_of
    from simulator.experiment.sweeps.workers import WorkerLost

    if list_:
        _list(json)
        return
    if everything == bool(names):
        hint = "name one (tokenyard reproduce --list) or give --all"
        raise InputError("which reproductions?" if not names else "--all and names at once", hint=hint)
    chosen = known_names() if everything else list(dict.fromkeys(names or []))
    for name in chosen:
        setup_of(name)  # the last one's mistake should not cost minutes
    if data is not None and not data.is_dir():
        raise InputError("no such folder", where=f"--data {data}")
    if out is not None:
        check_writable(out)

    from simulator.report.reproduction_text import print_reproduction

    found = []
    try:
        for name in chosen:
            report = _run(name, data, jobs, quick=quick, fresh=fresh)
            if out is not None and report["figure"] is not None:
                from simulator.report.reproduction_plot import draw_reproduction

                report["figure_file"] = str(out / f"{name}.png")
                draw_reproduction(report["figure"], out / f"{name}.png")
            found.append(report)
            if not json:
                print_reproduction(report, out_console())
    except WorkerLost as error:
        note(f"Error: {error} What had been simulated is kept; try again with --jobs 1")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        note("interrupted: what had been simulated is kept, and the same command goes on from there")
        raise typer.Exit(130) from None
    if json:
        print_json({"reproductions": found})
    elif len(found) > 1:
        _tally(found)


def _run(name: str, data: Path | None, jobs: int | None, *, quick: bool, fresh: bool) -> dict[str, Any]:
    from simulator.cli.point_progress import PointProgress
    from simulator.experiment.reproductions.tools.reproduce import run_reproduction
    from simulator.experiment.reproductions.tools.runner import Runner, cache_dir

    with PointProgress(f"simulations of {name}") as progress:
        runner = Runner(data=data, jobs=jobs, cache=cache_dir(), fresh=fresh, progress=progress)
        return run_reproduction(name, runner, quick=quick)


def _list(json: bool) -> None:
    from simulator.cli.output import print_json, print_rows
    from simulator.experiment.reproductions.tools.registry import names
    from simulator.experiment.reproductions.tools.reproduce import setup_of

    setups = {name: setup_of(name) for name in names()}
    rows = [
        {"name": name, "system": setup.system, "venue": setup.venue, "source": setup.source, "claim": setup.claim}
        for name, setup in setups.items()
    ]
    if json:
        print_json({"reproductions": rows})
    else:
        print_rows(rows, ["name", "system", "venue", "source", "claim"])


def _tally(found: list[dict[str, Any]]) -> None:
    from simulator.cli.output import print_rows

    print_rows(found, ["name", "system", "verdict", "why"])
    reproduced = sum(report["verdict"] == "reproduced" for report in found)
    typer.echo(f"\n{reproduced} of {len(found)} reproduced")
