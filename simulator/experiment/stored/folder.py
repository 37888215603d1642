"""Read a results folder: its summary, the runs in it, and columns of its tables."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.core.errors import InputError, unknown

SCHEMA = 1
_SUMMARY = "summary.json"
_MOST_NAMED = 10


@dataclass(frozen=True)
class StoredRun:
    """One run of a results folder; ``entry`` is what ``summary.json`` says of it."""

    folder: Path
    entry: dict[str, Any]

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.entry["name"])

    def table(self, file: str, columns: Sequence[str] | None = None, *, where: Any = None) -> Any:
        """Return this run's rows of ``requests.parquet`` or another table as an Arrow table.

        ``where``: a further Arrow expression. InputError where the file is missing or cannot be read.
        """
        from pyarrow import compute

        mine = compute.field("run") == self.name
        return read_table(self.folder, file, columns, where=mine if where is None else mine & where)


def read_summary(folder: Path) -> dict[str, Any]:
    """Return a folder's ``summary.json``; InputError where there is none that this version reads."""
    path = folder / _SUMMARY
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = summary.get("schema")
    except FileNotFoundError:
        hint = "give the folder that 'tokenyard run' printed"
        raise InputError(f"no {_SUMMARY} here", where=str(folder), hint=hint) from None
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), hint="repeat the run") from None
    if found != SCHEMA or not summary.get("runs"):
        message = f"schema {found!r}, but this version reads schema {SCHEMA}" if found != SCHEMA else "has no runs"
        raise InputError(message, where=str(path), hint="repeat the run")
    return summary


def find_runs(given: str) -> list[StoredRun]:
    """Return the runs a person means by ``FOLDER`` (all in it) or ``FOLDER/RUN`` (the one of that name).

    InputError where there is no such folder or run.
    """
    path = Path(given)
    folder = path
    while not (folder / _SUMMARY).is_file() and folder != folder.parent:
        folder = folder.parent  # a run's name may have slashes in it, such as "rate=5/s"
    if folder == path or not (folder / _SUMMARY).is_file():
        return [StoredRun(path, entry) for entry in read_summary(path)["runs"]]
    runs = {entry["name"]: entry for entry in read_summary(folder)["runs"]}
    name = str(path.relative_to(folder))
    if name not in runs:
        raise unknown("run", name, runs, where=str(folder))
    return [StoredRun(folder, runs[name])]


def only_run(runs: Sequence[StoredRun], name: str | None) -> StoredRun:
    """Return the run of a name, or the only one there is; InputError names those to choose from."""
    by_name = {run.name: run for run in runs}
    if name is not None:
        if name not in by_name:
            raise unknown("run", name, by_name, where=str(runs[0].folder))
        return by_name[name]
    if len(runs) > 1:
        names = ", ".join(f"'{known}'" for known in list(by_name)[:_MOST_NAMED])
        more = f" and {len(runs) - _MOST_NAMED} more" if len(runs) > _MOST_NAMED else ""
        hint = f"choose one with --run: {names}{more}"
        raise InputError(f"{len(runs)} runs are here", where=str(runs[0].folder), hint=hint)
    return runs[0]


def read_table(folder: Path, file: str, columns: Sequence[str] | None = None, *, where: Any = None) -> Any:
    """Return a folder's table as an Arrow table, or some of its columns and rows; InputError if it cannot be read."""
    import pyarrow as pa
    from pyarrow import dataset

    path = folder / file
    try:
        return dataset.dataset(path, format="parquet").to_table(columns=columns, filter=where)
    except FileNotFoundError:
        raise InputError(f"no {file} here", where=str(folder), hint="repeat the run") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"cannot be read: {str(error).splitlines()[0]}", where=str(path), hint="repeat the run"
        ) from None
