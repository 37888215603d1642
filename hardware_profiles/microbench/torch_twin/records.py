"""Results as JSON lines in the format of the CUDA harness, so that both can write into one file."""

import json
import math
from pathlib import Path
from typing import Any

SCHEMA = 1


class WrongFile(Exception):
    """A file of records that belongs to another machine, or is no such file."""


class Records:
    """A file of results, flushed line by line; what it has already is not measured again."""

    def __init__(self, path: Path, machine: str) -> None:
        self._keys: set[str] = set()
        self.empty = True
        self.results = 0
        self.errors = 0
        text = path.read_bytes() if path.exists() else b""
        # A line cut short at the end is dropped.
        text = text[: text.rfind(b"\n") + 1]
        for line in text.splitlines():
            self._know(line, path, machine)
        with path.open("ab") as file:
            file.truncate(len(text))
        self._file = path.open("a", encoding="utf-8")

    def _know(self, line: bytes, path: Path, machine: str) -> None:
        try:
            record = json.loads(line)
        except ValueError:
            raise WrongFile(f"{path} is no record of the harness; name another file") from None
        if self.empty:
            if record.get("kind") != "machine" or record.get("tokenyard_microbench") != SCHEMA:
                raise WrongFile(f"{path} is no record of this version of the harness; name another file")
            if record["same"] != machine:
                hint = "name another file"
                raise WrongFile(f"{path} was begun on another machine ({record['same']}, here {machine}); {hint}")
            self.empty = False
        if record.get("kind") == "result" or record.get("fatal"):
            self._keys.add(record["key"])

    def has(self, key: str) -> bool:
        """Tell whether the file holds a result."""
        return key in self._keys

    def write(self, record: dict[str, Any], key: str = "") -> None:
        """Append a record; with a key it is a result or an error of that point."""
        rounded = {name: _plain(value) for name, value in record.items()}
        self._file.write(json.dumps({"key": key, **rounded} if key else rounded) + "\n")
        self._file.flush()
        if record["kind"] == "result":
            self._keys.add(key)
            self.results += 1
        if record["kind"] == "error":
            self.errors += 1


def _plain(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    # JSON has no infinity and no NaN.
    return float(f"{value:.6g}") if math.isfinite(value) else None
