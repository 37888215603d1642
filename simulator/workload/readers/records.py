"""JSON Lines and Parquet as columns."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.errors import InputError
from simulator.workload.readers.source import empty, open_text
from simulator.workload.readers.table import Float, Int, not_a_number, reject


class RecordTable:
    """Columns given as lists of Python values; ``lines`` are the rows' line numbers, None where a file has none."""

    def __init__(self, path: Path, columns: dict[str, list[Any]], lines: list[int] | None) -> None:
        self.path = path
        self.names = tuple(columns)
        self._columns = columns
        self._lines = lines

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def where(self, row: int) -> str:
        """Return a row's ``file:line``, or its number from 1 where the format has no lines."""
        return f"{self.path}: row {row + 1}" if self._lines is None else f"{self.path}:{self._lines[row]}"

    def integers(self, name: str) -> Int:
        """Return a column of whole numbers."""
        values = self.numbers(name)
        reject(~np.isfinite(values) | (values != np.rint(values)) | (np.abs(values) >= 2**53), self.where,
               lambda row: f"{name} is {self._columns[name][row]}, not a whole number")  # fmt: skip
        return values.astype(np.int64)

    def numbers(self, name: str) -> Float:
        """Return a column of numbers."""
        values = self._columns[name]
        kinds = set(map(type, values))
        if not kinds <= {int, float, Decimal}:
            row = next(row for row, value in enumerate(values) if type(value) not in (int, float, Decimal))
            not_a_number(values[row], name, self.where(row))
        return np.array(values, np.float64)

    def text(self, name: str) -> list[str]:
        """Return a column as text."""
        return ["" if value is None else str(value) for value in self._columns[name]]

    def values(self, name: str) -> list[Any]:
        """Return a column as it was read; None where a record has no such key."""
        return self._columns[name]


def parse_records(path: Path, data: bytes) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the objects of JSON Lines and their line numbers; blank lines are skipped, fractions are Decimals."""
    lines = data.decode().split("\n")
    numbers = [number for number, line in enumerate(lines, 1) if line and not line.isspace()]
    kept = lines if len(numbers) == len(lines) else [lines[number - 1] for number in numbers]
    try:
        # One call for the whole file is three times as fast as one a line; the separator keeps a line from
        # continuing on the next.
        records: list[Any] = json.loads(f"[{','.join(kept)}]", parse_float=Decimal)
        sound = len(records) == len(kept)
    except (ValueError, ArithmeticError):
        sound = False
    if not sound:
        records = [_parse(line, f"{path}:{number}") for line, number in zip(kept, numbers, strict=True)]
    for record, number in zip(records, numbers, strict=True):
        if type(record) is not dict:
            raise InputError("malformed row: not a JSON object", where=f"{path}:{number}",
                             hint='write one {"timestamp": ...} a line')  # fmt: skip
    return records, numbers


def to_table(path: Path, records: list[dict[str, Any]], lines: list[int]) -> RecordTable:
    """Return JSON objects as columns; the names are those of all records, in order of appearance."""
    names = dict.fromkeys(name for record in records for name in record)
    return RecordTable(path, {name: [record.get(name) for record in records] for name in names}, lines)


def read_parquet(path: Path) -> RecordTable:
    """Return a Parquet file's columns."""
    if not path.is_file():
        open_text(path)  # raises the error that names what is wrong
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"not a readable Parquet file: {error}", where=str(path)) from None
    if table.num_rows == 0:
        raise empty(path)
    return RecordTable(path, {name: table[name].to_pylist() for name in table.column_names}, None)


def _parse(line: str, where: str) -> Any:
    try:
        return json.loads(line, parse_float=Decimal)
    except ValueError as error:
        raise InputError(f"malformed row: not JSON: {error}", where=where) from None
