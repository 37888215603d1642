"""Time lines as files: gzipped JSON that Perfetto (ui.perfetto.dev) and chrome://tracing open."""

import difflib
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from simulator.core.errors import InputError
from simulator.report.file_names import free_names
from simulator.report.results import RunTables, read_results
from simulator.report.trace_events import Event, events_of


def write_timelines(
    folder: Path, run: str | None = None, start_s: float = 0.0, end_s: float | None = None, out: Path | None = None
) -> list[Path]:
    """Write a results folder's time lines, one file a run, into ``folder/timelines``; return the files.

    With ``run`` only that one, with ``out`` to that file. What lies outside of the window is cut off. Raises
    ``InputError`` where the run is unknown, the window is empty, the results are damaged or nothing can be written.
    """
    if end_s is not None and end_s <= start_s:
        raise InputError(f"the window from {start_s:g} s to {end_s:g} s is empty", hint="--to must be after --from")
    results = read_results(folder)
    chosen = _chosen(results.tables, run, folder)
    if out is not None and len(chosen) != 1:
        names = ", ".join(each.run.name for each in chosen)
        raise InputError("several runs, but one file", where=str(out), hint=f"choose one with --run: {names}")
    files = [out] if out is not None else [
        folder / "timelines" / f"{name}.json.gz" for name in free_names(each.run.name for each in chosen)
    ]  # fmt: skip
    window = (round(start_s * 1e9), None if end_s is None else round(end_s * 1e9))
    for each, path in zip(chosen, files, strict=True):
        about = {"experiment": results.experiment, "run": each.run.name, "from_s": start_s, "to_s": end_s}
        _write(path, events_of(each, *window), about)
    return files


def _chosen(tables: Iterable[RunTables], run: str | None, folder: Path) -> list[RunTables]:
    every = list(tables)
    if not every:
        raise InputError("no run finished, so there is nothing to show", where=str(folder / "summary.json"))
    if run is None:
        return every
    names = [each.run.name for each in every]
    if run not in names:
        near = difflib.get_close_matches(run, names, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"its runs: {', '.join(names)}"
        raise InputError(f"there is no run '{run}'", where=str(folder), hint=hint)
    return [each for each in every if each.run.name == run]


def _write(path: Path, events: Iterable[Event], about: dict[str, Any]) -> None:
    lines = ",\n".join(json.dumps(event.fields, separators=(",", ":")) for event in events)
    head = json.dumps({"displayTimeUnit": "ms", "otherData": about})
    text = f'{head[:-1]}, "traceEvents": [\n{lines}\n]}}\n'
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        # Without a time and a name in its header, the file is the same for the same results.
        part.write_bytes(gzip.compress(text.encode(), compresslevel=6, mtime=0))
        part.replace(path)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(path), hint="give another --out") from None
