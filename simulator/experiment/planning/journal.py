"""What a plan has simulated so far, one line each, so that nothing is lost when it is killed."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self


class Record(NamedTuple):
    """One simulation: its content key, and its metrics."""

    key: str
    metrics: dict[str, Any]


class Journal:
    """A file of records that is only ever appended to; a line cut short by a crash is forgotten."""

    def __init__(self, file: Path, *, fresh: bool = False) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        if fresh:
            file.unlink(missing_ok=True)
        torn = False
        if file.exists():
            text = file.read_text(encoding="utf-8")
            torn = bool(text) and not text.endswith("\n")
            for line in text.splitlines():
                self._read(line)
        self.found = len(self.records)
        self._stream = file.open("a", encoding="utf-8")
        if torn:
            self._stream.write("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def add(self, records: list[Record]) -> None:
        """Append records; they are on their way to the disk when this returns."""
        for record in records:
            if record.key not in self.records:
                self.records[record.key] = record.metrics
                self._stream.write(json.dumps({"key": record.key, "metrics": record.metrics}, allow_nan=False) + "\n")
        self._stream.flush()

    def of(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Return the records whose key begins so."""
        return {key: metrics for key, metrics in self.records.items() if key.startswith(prefix)}

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self.records[entry["key"]] = entry["metrics"]
        except (ValueError, LookupError, TypeError):
            return
