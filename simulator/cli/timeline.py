"""``tokenyard timeline``: what every instance and request did, for Perfetto."""

from pathlib import Path
from typing import Annotated

import typer


def timeline(
    folder: Annotated[Path, typer.Argument(help="A results folder of 'tokenyard run'.", show_default=False)],
    run: Annotated[str | None, typer.Option("--run", help="Only this run; default: a file for each run.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Where the window begins: 10s, 2min.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Where the window ends.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; default: FOLDER/timelines/RUN.json.gz.")] = None,
) -> None:
    """Write what every instance and request did over time as a trace for Perfetto (ui.perfetto.dev, "Open trace file").

    Instances are processes; iterations, waiting, prefill and decoding are slices, with arrows along each request; KV
    blocks, queue length and running requests are counters.

    Example: tokenyard timeline results/quickstart --run "4 GPUs" --from 10s --to 20s
    """
    from simulator.cli.output import check_file
    from simulator.report import write_timelines

    if out is not None:
        check_file(out)
    window = (_seconds(start, "--from") or 0.0, _seconds(end, "--to"))
    for path in write_timelines(folder, run, *window, out):
        typer.echo(str(path))


def _seconds(text: str | None, option: str) -> float | None:
    from simulator.core.errors import InputError
    from simulator.core.quantity import parse

    if text is None:
        return None
    try:
        return parse(text, "duration", allow_zero=True)
    except ValueError as error:
        raise InputError(str(error), where=option) from None
