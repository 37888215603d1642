"""``tokenyard techniques``: the survey's techniques that an experiment can name, and the page that compares them."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def techniques(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """List the techniques that an experiment's `techniques:` can name, with their parameters.

    Example: tokenyard techniques
    """
    if context.invoked_subcommand is not None:
        return
    from simulator.cli.output import print_json, print_rows
    from simulator.experiment.techniques.describe import describe_techniques

    rows = describe_techniques()
    if json:
        print_json({"techniques": rows})
        return
    for row in rows:
        row["parameters"] = ", ".join(f"{each['name']}={_shown(each['default'])}" for each in row["parameters"])
    print_rows(rows, ["name", "level", "parameters", "changes"])


def _shown(value: object) -> str:
    return "..." if value is None else str(value)


@app.command("report")
def report(
    out: Annotated[Path, typer.Option(help="The Markdown file to write.")],
    experiments: Annotated[
        Path | None, typer.Option(help="A folder of experiments; default: the shipped ones.")
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="A Mooncake trace for the prefix cache's hit rates.")] = None,
) -> None:
    """Run the experiments of techniques and write a page about where each helps and where it stops.

    Every experiment's first variant is its baseline, and what it sweeps is the load. Takes some minutes.

    Example: tokenyard techniques report --out docs/techniques.md
    """
    from simulator.cli.output import check_file, note
    from simulator.core.errors import InputError
    from simulator.experiment.technique_study.study import study
    from simulator.report.techniques_page import techniques_page

    check_file(out)
    if experiments is not None and not any(experiments.glob("*.yaml")):
        raise InputError("no experiments (*.yaml) here", where=f"--experiments {experiments}")
    if trace is not None and not trace.is_file():
        raise InputError("no such file", where=f"--trace {trace}")
    page = techniques_page(study(experiments, trace, note))
    out.write_text(page, encoding="utf-8")
    note(f"written: {out}")
