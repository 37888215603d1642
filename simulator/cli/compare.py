"""``tokenyard compare``: runs beside each other, with signed differences."""

from pathlib import Path
from typing import Annotated, Any

import typer


def compare(
    runs: Annotated[list[str], typer.Argument(help="Results folders, or FOLDER/RUN for a single run of one.")],
    page: Annotated[
        Path | None, typer.Option(help="Also write a page with plots of whole folders, such as compare.html.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Compare runs: each metric of each, and how it differs from the first one's.

    Example: tokenyard compare results/quickstart

    A folder stands for all of its runs. Exits 2 for fewer than two runs.
    """
    from simulator.cli.output import print_json
    from simulator.experiment.stored.differences import differences
    from simulator.experiment.stored.folder import find_runs

    if page is not None:
        _write_page(runs, page)
    found = differences([run for given in runs for run in find_runs(given)])
    if json:
        print_json(found)
    else:
        _print(found)


def _write_page(given: list[str], page: Path) -> None:
    from simulator.core import InputError
    from simulator.report import write_comparison

    folders = [Path(text) for text in given]
    for folder in folders:
        if not (folder / "summary.json").is_file():
            raise InputError(f"{folder} is not a results folder", hint="a page shows whole folders, not FOLDER/RUN")
    write_comparison(folders, page)
    typer.echo(f"Page: {page}", err=True)


def _print(found: dict[str, Any]) -> None:
    from simulator.cli.output import print_rows
    from simulator.report.headline import METRICS

    rows = []
    for metric in METRICS:
        values = [run["metrics"].get(metric.key) for run in found["runs"]]
        if all(value is None for value in values) or (metric.only_if_any and not any(values)):
            continue
        row = {"metric": metric.label, "unit": metric.unit}
        for run, value in zip(found["runs"], values, strict=True):
            difference = run.get("differences", {}).get(metric.key)
            row[run["label"]] = _cell(value, difference, metric.scale)
        rows.append(row)
    print_rows(rows, ["metric", "unit", *(run["label"] for run in found["runs"])])
    typer.echo(f"\nIn brackets: difference from '{found['base']}'.")


def _cell(value: float | None, difference: dict[str, float | None] | None, scale: float) -> str:
    from simulator.report.headline import number

    if value is None:
        return "-"
    text = number(value * scale)
    if difference is None or difference["absolute"] is None:
        return text
    if difference["relative"] is not None:
        return f"{text} ({difference['relative']:+.1%})"
    return f"{text} (+{number(difference['absolute'] * scale)})" if difference["absolute"] > 0 else text
