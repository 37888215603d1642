"""Columns of a trace file by name, whatever the file's format: what the readers are written against."""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import InputError
from simulator.core.units import PS_PER_S
from simulator.workload.clock import LONGEST_DAYS, LONGEST_PS

Int = NDArray[np.int64]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


class Table(Protocol):
    """Rows and named columns; every error names the row's place in the file."""

    path: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def where(self, row: int) -> str:
        """Return the place of a row (``file:line``)."""
        ...

    def integers(self, name: str) -> Int:
        """Return a column of whole numbers."""
        ...

    def numbers(self, name: str) -> Float:
        """Return a column of numbers; NaN and infinities pass, for the reader to judge."""
        ...

    def text(self, name: str) -> list[str]:
        """Return a column as text, an empty cell as an empty string."""
        ...


def normal(name: str) -> str:
    """Return a column's name in the form the readers compare: lower case, underscores for blanks and hyphens."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def reject(bad: Bool, where: Callable[[int], str], message: Callable[[int], str], hint: str | None = None) -> None:
    """Raise for the first row that a mask marks, if any."""
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(message(row), where=where(row), hint=hint)


def positive(values: Int, name: str, where: Callable[[int], str]) -> Int:
    """Return a column of token counts after checking that each is at least 1."""
    reject(values < 1, where, lambda row: f"{name} is {values[row]}, but must be at least 1")
    return values


def seconds_to_ps(seconds: Float, name: str, where: Callable[[int], str]) -> Int:
    """Return arrival times as picoseconds after the first row's, checked to be finite and never falling."""
    reject(~np.isfinite(seconds), where, lambda row: f"{name} is {seconds[row]}, not a finite time")
    reject(seconds < 0, where, lambda row: f"{name} is {seconds[row]}, but must not be negative")
    return from_first(np.rint((seconds - seconds[0]) * PS_PER_S), name, where)


def from_first(since_first_ps: Int | Float, name: str, where: Callable[[int], str]) -> Int:
    """Return picoseconds since the first row as integers, checked never to fall and to fit the clock."""
    reject(since_first_ps < np.concatenate((since_first_ps[:1], since_first_ps[:-1])), where,
           lambda row: f"{name} is earlier than in the row before", "sort the trace by arrival time")  # fmt: skip
    reject(since_first_ps > LONGEST_PS, where,
           lambda row: f"{name} is more than {LONGEST_DAYS} days after the first row", "check its unit")  # fmt: skip
    return since_first_ps.astype(np.int64)


def not_a_number(value: object, name: str, where: str, kind: str = "number") -> NoReturn:
    """Raise for a cell that isn't a number."""
    shown = "missing" if value in ("", None) else f"{value!r}, not a {kind}"
    raise InputError(f"{name} is {shown}", where=where)
