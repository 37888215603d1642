"""A CSV file cut into columns without a Python object per cell.

Cells as strings would cost more than replaying the trace does, so commas and line ends are found in the raw bytes at
once. Files with quoted cells take the standard library's path.
"""

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import InputError
from simulator.workload.readers.source import empty
from simulator.workload.readers.table import Float, Int, not_a_number

Bytes = NDArray[np.uint8]
_COMMA, _NEWLINE, _RETURN, _ZERO, _MINUS = b",\n\r0-"
_MAX_DIGITS = 18  # the most that always fit a signed 64-bit integer


class CsvTable:
    """Columns of a CSV file with a header; ``data`` is its text as UTF-8, not empty."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        if b'"' in data:
            data = _unquote(path, data)
        first, _, _ = data.partition(b"\n")
        self.names = tuple(name.strip() for name in first.decode().split(","))
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise InputError(f"the header names column '{twice[0]}' twice", where=f"{path}:1")
        # Blank lines at the end are no rows; the appended line end closes the last row.
        self.bytes: Bytes = np.frombuffer(data.rstrip() + b"\n", dtype=np.uint8)
        self._cut()

    def _cut(self) -> None:
        ends = np.flatnonzero(self.bytes == _NEWLINE)
        if len(ends) < 2:
            raise empty(self.path)
        cells, rows = len(self.names), len(ends) - 1
        marks = np.flatnonzero((self.bytes == _COMMA) | (self.bytes == _NEWLINE))[cells:]
        # Each row must hold exactly cells - 1 commas: then every cells-th mark is a line end.
        if len(marks) != rows * cells or not np.array_equal(marks[cells - 1 :: cells], ends[1:]):
            self._report_ragged(ends)
        stops = marks.reshape(rows, cells)
        starts = np.concatenate(([ends[0]], marks[:-1])).reshape(rows, cells) + 1
        stops[:, -1] -= self.bytes[stops[:, -1] - 1] == _RETURN
        self._starts, self._stops = starts, stops

    def _report_ragged(self, ends: Int) -> None:
        commas = np.flatnonzero(self.bytes == _COMMA)
        per_line = np.diff(np.searchsorted(commas, ends), prepend=0)
        row = int(np.argmax(per_line[1:] != len(self.names) - 1))
        text = self.bytes[ends[row] + 1 : ends[row + 1]].tobytes().decode().strip()
        if not text:
            raise InputError("malformed row: the line is blank", where=self.where(row), hint="remove it")
        raise InputError(f"malformed row: {per_line[row + 1] + 1} cells where the header has {len(self.names)}",
                         where=self.where(row))  # fmt: skip

    def __len__(self) -> int:
        return len(self._starts)

    def where(self, row: int) -> str:
        """Return a row's ``file:line``; the header is line 1."""
        return f"{self.path}:{row + 2}"

    def cell(self, name: str, row: int) -> str:
        """Return one cell as text."""
        starts, stops = self.spans(name)
        return self.bytes[starts[row] : stops[row]].tobytes().decode().strip()

    def spans(self, name: str) -> tuple[Int, Int]:
        """Return where each cell of a column starts and stops in ``bytes``."""
        column = self.names.index(name)
        return self._starts[:, column], self._stops[:, column]

    def integers(self, name: str) -> Int:
        """Return a column of whole numbers."""
        starts, stops = self.spans(name)
        negative = (self.bytes[starts] == _MINUS) & (stops > starts)
        values, bad = parse_digits(self.bytes, starts + negative, stops)
        values = np.where(negative, -values, values)
        # Blanks, a plus sign and 12.0 are rare enough to be read one by one.
        for row in np.flatnonzero(bad):
            number = self._number(name, int(row))
            if not number.is_integer() or abs(number) >= 2**53:
                not_a_number(self.cell(name, int(row)), name, self.where(int(row)), "whole number")
            values[row] = int(number)
        return values

    def numbers(self, name: str) -> Float:
        """Return a column of numbers."""
        starts, stops = self.spans(name)
        widths = stops - starts
        values = np.empty(len(starts))
        for width in distinct(widths):
            rows = np.flatnonzero(widths == width)
            if width == 0 or width > 40:
                not_a_number(self.cell(name, int(rows[0])), name, self.where(int(rows[0])))
            cells = self.bytes[starts[rows, None] + np.arange(width)].view(f"S{width}")[:, 0]
            try:
                values[rows] = cells.astype(np.float64)
            except ValueError:
                for row in rows:
                    values[row] = self._number(name, int(row))
        return values

    def text(self, name: str) -> list[str]:
        """Return a column as text."""
        starts, stops = self.spans(name)
        data = self.bytes.tobytes()
        return [data[a:b].decode().strip() for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]

    def _number(self, name: str, row: int) -> float:
        text = self.cell(name, row)
        try:
            if "_" in text:  # Python reads 1_000, a trace doesn't
                raise ValueError
            number = float(text)
        except ValueError:
            not_a_number(text, name, self.where(row))
        return number


def parse_digits(data: Bytes, starts: Int, stops: Int) -> tuple[Int, NDArray[np.bool_]]:
    """Return the whole numbers that ``data[starts[i]:stops[i]]`` spell in digits, and which spell none."""
    widths = stops - starts
    values = np.zeros(len(starts), np.int64)
    bad = (widths < 1) | (widths > _MAX_DIGITS)
    for width in distinct(widths[~bad]):
        rows = np.flatnonzero(widths == width)
        first, value = starts[rows], np.zeros(len(rows), np.int64)
        for place in range(width):
            # A byte below "0" wraps around to a large one, so one comparison tells a digit.
            digit = data[first + place] - np.uint8(_ZERO)
            bad[rows] |= digit > 9
            value = value * 10 + digit
        values[rows] = value
    return values, bad


def distinct(widths: Int) -> list[int]:
    """Return the distinct values of small numbers."""
    # The first np.unique of a process imports numpy.ma, which takes longer than reading a trace.
    return np.flatnonzero(np.bincount(widths)).tolist()


def _unquote(path: Path, data: bytes) -> bytes:
    """Return a CSV without quotes; a comma or line end inside a cell, which a trace has no use for, becomes a blank."""
    lines: list[str] = []
    reader = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
    try:
        for row in reader:
            if reader.line_num != len(lines) + 1:
                where = f"{path}:{len(lines) + 1}"
                raise InputError("malformed row: a quoted cell runs over the line's end", where=where)
            lines.append(",".join(cell.replace(",", " ") for cell in row))
    except csv.Error as error:
        raise InputError(f"malformed row: {error}", where=f"{path}:{reader.line_num}") from None
    return "\n".join(lines).encode()
