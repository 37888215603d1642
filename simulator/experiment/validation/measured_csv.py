"""Rows of measured results in CSV, with the line each came from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from simulator.core import InputError
from simulator.workload.readers.csv_table import CsvTable
from simulator.workload.readers.source import open_text

_EMPTY = ("nan", "none", "null", "n/a", "na", "-")


class Row:
    """One row's cells by column name; every error names the row's ``file:line``."""

    def __init__(self, cells: dict[str, str], where: str) -> None:
        self._cells = cells
        self.where = where

    def text(self, column: str) -> str:
        """Return a cell, an empty text where it is empty or there is no such column."""
        cell = self._cells.get(column, "")
        return "" if cell.lower() in _EMPTY else cell

    def number(self, column: str) -> float | None:
        """Return a finite number, None where the cell is empty; InputError for anything else."""
        text = self.text(column)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("inf")
        if not abs(value) < float("inf"):
            raise InputError(f"{column} is '{text}', not a number", where=self.where)
        return value

    def count(self, column: str) -> int | None:
        """Return a whole number of 0 or more, None where the cell is empty."""
        value = self.number(column)
        if value is None:
            return None
        if value < 0 or not value.is_integer():
            raise InputError(f"{column} is {value:g}, not a whole number of 0 or more", where=self.where)
        return int(value)

    def size(self, column: str) -> int:
        """Return a whole number above 0; InputError where there is none."""
        value = self.count(column)
        if not value:
            shown = "missing" if value is None else "0"
            raise InputError(f"{column} is {shown}, expected a whole number above 0", where=self.where)
        return value

    def latency(self, column: str) -> float:
        """Return a number above 0; InputError where there is none."""
        value = self.number(column)
        if value is None or value <= 0:
            shown = "missing" if value is None else f"{value:g}"
            raise InputError(f"{column} is {shown}, expected a time above 0", where=self.where)
        return value


def read_rows(path: Path, required: Sequence[str], kind: Literal["points", "stages"] = "points") -> list[Row]:
    """Return the rows of a CSV file that has at least these columns, in any case; InputError names a missing one.

    Lines without a value are left out.
    """
    table = CsvTable(path, open_text(path))
    lower = [name.lower() for name in table.names]
    if twice := [name for name in lower if lower.count(name) > 1]:
        raise InputError(f"the header names column '{twice[0]}' twice", where=f"{path}:1")
    if missing := [column for column in required if column not in lower]:
        raise InputError(
            f"no column '{missing[0]}' among {', '.join(table.names)}",
            where=f"{path}:1",
            hint=f"a file of measured {kind} needs {', '.join(required)}",
        )
    columns = {name.lower(): table.text(name) for name in table.names}
    rows = [{name: cells[row] for name, cells in columns.items()} for row in range(len(table))]
    return [Row(cells, table.where(row)) for row, cells in enumerate(rows) if any(cells.values())]
