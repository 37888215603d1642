"""What the microbenchmark harness wrote: JSON lines, the first about the machine, then one a result.

docs/calibration.md lists the fields. Seconds, bytes and FLOP throughout.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.core import InputError

SCHEMA = 1
_MARK = "tokenyard_microbench"


@dataclass
class RecordedRun:
    """One run: the machine, its results, and what it noted.

    ``results`` have ``op``, ``library``, ``point``, ``l2`` (cold, hot, none) and ``seconds``; ``cut_short`` tells that
    the run did not get to its end.
    """

    machine: dict[str, Any]
    results: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cut_short: bool = True

    @property
    def gpu(self) -> str:
        """The device's name, as the driver gives it."""
        return str(self.machine["gpu"])

    @property
    def date(self) -> str:
        """The day the run was begun, as 2026-11-22."""
        return str(self.machine["date"])[:10]

    @property
    def throttled(self) -> int:
        """How many results were taken while clocks were held down for heat or by the board."""
        return sum(bool(each.get("throttled")) for each in self.results)

    def rows(self, op: str, l2: str) -> Any:
        """Return a data frame: an operator's points as columns, ``library``, ``noise`` and ``seconds``.

        Results of a throttled GPU are left out. Where the run has a point twice, the later one counts.
        """
        import pandas as pd

        chosen: dict[tuple[Any, ...], dict[str, Any]] = {}
        for each in self.results:
            if each["op"] == op and each["l2"] == l2 and not each.get("throttled"):
                row = {**each["point"], "library": each["library"], "noise": each.get("noise")}
                chosen[tuple(row[name] for name in (*each["point"], "library"))] = row | {"seconds": each["seconds"]}
        return pd.DataFrame(list(chosen.values()))

    def within_a_graph(self, rows: Any) -> Any:
        """Return rows timed one launch at a time as if they had run within a replayed graph, as engines run them.

        Between two events on a busy GPU an empty kernel takes some microseconds, as a node of a graph about one; the
        run measured both. Unchanged where it did not.
        """
        empty, node = (self._launch(how) for how in ("between_events", "graph_node"))
        if empty is None or node is None or not len(rows):
            return rows
        return rows.assign(seconds=(rows.seconds - empty + node).clip(lower=node))

    def _launch(self, how: str) -> float | None:
        found = {each["point"]["kernels"]: each["seconds"] for each in self.results
                 if each["op"] == "launch" and each["point"]["how"] == how}  # fmt: skip
        return float(found[max(found)]) if found else None


def read_run(paths: Sequence[str]) -> RecordedRun:
    """Read one run, of one machine, from a file or several; InputError says what is wrong where.

    A last line cut short is dropped: so a run looks that was killed.
    """
    runs = [_read(path) for path in paths]
    first = runs[0]
    for path, other in zip(paths[1:], runs[1:], strict=True):
        if other.machine["same"] != first.machine["same"]:
            raise InputError(f"of another machine than {paths[0]}", where=path, hint="calibrate one GPU at a time")
        first.results += other.results
        first.errors += other.errors
        first.notes += other.notes
        first.cut_short |= other.cut_short
    return first


def _read(path: str) -> RecordedRun:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from None
    except UnicodeDecodeError:
        raise InputError("not a recorded run: it is not text", where=path) from None
    run: RecordedRun | None = None
    whole = text[: text.rfind("\n") + 1]
    for number, line in enumerate(whole.splitlines(), start=1):
        where = f"{path}:{number}"
        record = _record(line, where)
        if run is None:
            run = RecordedRun(_machine(record, where))
            continue
        kind = record.get("kind")
        run.cut_short = kind != "end"
        if kind == "result":
            run.results.append(_result(record, where))
        elif kind == "error":
            run.errors.append(record)
        elif kind == "note":
            run.notes.append(str(record.get("text")))
        elif kind not in ("machine", "end"):
            raise InputError(
                f"'{kind}' is no kind of record", where=where, hint="known: machine, result, error, note, end"
            )
    if run is None:
        raise InputError("empty", where=path, hint="tokenyard calibrate gpu writes such files")
    if not run.results:
        raise InputError(
            "the run has no results", where=path, hint=_first(run) or "run it again: it goes on where it ended"
        )
    return run


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg.lower()}", where=f"{where}:{error.colno}") from None
    if not isinstance(record, dict):
        raise InputError("not a JSON object", where=where)
    return record


def _machine(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    found = record.get(_MARK)
    if found is None:
        raise InputError("not a recorded run of the microbenchmarks", where=where, hint=f'it begins with "{_MARK}"')
    if found != SCHEMA:
        newer = isinstance(found, int) and found > SCHEMA
        hint = "upgrade tokenyard" if newer else "measure again"
        raise InputError(f"recorded run of schema {found!r}, this version reads {SCHEMA}", where=where, hint=hint)
    if missing := [name for name in ("same", "gpu", "date", "device", "memory_bytes") if name not in record]:
        raise InputError(f"the machine has no {', '.join(missing)}", where=where)
    return dict(record)


def _result(record: dict[str, Any], where: str) -> dict[str, Any]:
    if missing := [name for name in ("op", "library", "point", "l2", "seconds") if name not in record]:
        raise InputError(f"the result has no {', '.join(missing)}", where=where)
    seconds = record["seconds"]
    if not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds <= 0:
        raise InputError(f"{seconds!r} is no time in seconds", where=where)
    if not isinstance(record["point"], dict):
        raise InputError("'point' is not an object", where=where)
    return record


def _first(run: RecordedRun) -> str | None:
    return f"its first error: {run.errors[0].get('message')}" if run.errors else None
