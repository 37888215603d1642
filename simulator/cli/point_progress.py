"""How many points of a validation are done, on stderr: one moving line on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

_LINE_EVERY_S = 10.0


class PointProgress:
    """A context to be called with how many of how many are done."""

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = stream or sys.stderr
        self._next = time.monotonic() + (0.5 if self._stream.isatty() else _LINE_EVERY_S)
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self._drawn:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def __call__(self, done: int, total: int) -> None:
        """Show the state, unless it was shown a moment ago."""
        if time.monotonic() < self._next:
            return
        text = f"{done} of {total} {self._what}"
        if self._stream.isatty():
            self._next, self._drawn = time.monotonic() + 0.2, True
            self._stream.write(f"\r\033[K{text}")
        else:
            self._next = time.monotonic() + _LINE_EVERY_S
            self._stream.write(f"{text}\n")
        self._stream.flush()
