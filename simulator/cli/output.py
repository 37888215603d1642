"""What commands print: tables for people, JSON for programs, and the check that a results folder can be written."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from simulator.core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


def print_json(value: Any) -> None:
    """Print a value as indented JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def out_console() -> "Console":
    """Return the console of stdout."""
    from rich.console import Console

    return Console(highlight=False)


def note(text: str) -> None:
    """Print a line for the person at the terminal on stderr, where it is not mixed with results."""
    typer.echo(text, err=True)


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print the chosen columns of rows as a table on stdout."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column == "name")
    for row in rows:
        table.add_row(*("" if row.get(column) is None else str(row[column]) for column in columns))
    out_console().print(table)


def check_writable(folder: Path) -> None:
    """Make a folder and write a byte in it; InputError if it cannot be, so that no simulation runs in vain."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except OSError as error:
        hint = "choose another folder with --out"
        raise InputError(f"cannot write results here: {error.strerror}", where=str(folder), hint=hint) from None


def check_file(path: Path) -> None:
    """Raise InputError where a file could not be written for want of its folder, before the work that fills it."""
    if path.is_dir():
        raise InputError("is a folder; name a file", where=str(path))
    if not path.parent.is_dir():
        raise InputError(f"there is no folder '{path.parent}'", where=str(path))
