"""``tokenyard validate``: is the simulator right? Its answers beside recorded or measured ones."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Compare the simulator with recorded and measured behaviour.

    Example: tokenyard validate schedules recorded_schedules
    """


def parse_tolerance(text: str) -> float:
    """Return a percentage such as ``3%`` as a fraction; InputError where it is none."""
    from simulator.core.errors import InputError

    try:
        fraction = float(text.removesuffix("%")) / 100
    except ValueError:
        fraction = -1.0
    if not text.endswith("%") or not 0 <= fraction <= 1:
        raise InputError(f"'{text}' is not a percentage", where="--tolerance", hint="write it as 3%")
    return fraction


@app.command("schedules")
def schedules(
    folder: Annotated[Path, typer.Argument(help="Recorded cases: *.json or *.json.gz.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    tolerance: Annotated[str, typer.Option(help="Share of cases that may differ, e.g. 1%.")] = "0%",
) -> None:
    """Replay recorded decisions of the real vLLM scheduler and compare every step.

    Exits 1 when more cases differ than the tolerance allows.

    Example: tokenyard validate schedules recorded_schedules --tolerance 0%
    """
    from simulator.cli.output import print_json, print_rows
    from simulator.experiment.validate_schedules import validate_folder

    allowed = parse_tolerance(tolerance)
    verdict = validate_folder(folder)
    overall = verdict["overall"]
    differing = [case for case in verdict["groups"] if case["first_difference"] is not None]
    if json:
        print_json(verdict)
    else:
        if differing:
            print_rows(differing, ["case", "steps", "first_difference", "detail"])
        typer.echo(f"{overall['identical']} of {overall['points']} cases identical over {overall['steps']} steps")
    if len(differing) > allowed * overall["points"]:
        raise typer.Exit(1)
