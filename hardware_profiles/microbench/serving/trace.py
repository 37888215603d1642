"""What to serve: arrivals and lengths from a CSV, or from any trace that Tokenyard reads where it is installed."""

import csv
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

_ARRIVAL = ("arrival", "arrival_s", "arrival_time", "arrived_at", "timestamp")
_PROMPT = ("prompt", "prompt_tokens", "input_tokens", "contexttokens", "num_prefill_tokens")
_OUTPUT = ("output", "output_tokens", "generatedtokens", "num_decode_tokens")


class Row(NamedTuple):
    """One request: seconds since the first arrival, and tokens."""

    arrival: float
    prompt: int
    output: int


def read_trace(path: Path) -> list[Row]:
    """Return the requests of a trace in order of arrival; ValueError says what is wrong with it and where."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _read_csv(path, file) if path.suffix == ".csv" else None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    rows = _read_any(path) if rows is None else rows
    if not rows:
        raise ValueError(f"{path}: has no requests")
    rows.sort()
    return [row._replace(arrival=row.arrival - rows[0].arrival) for row in rows]


def _read_csv(path: Path, file: Iterable[str]) -> list[Row] | None:
    """Return the requests, None if the columns have other names."""
    table = csv.DictReader(file)
    names = {name.strip().lower(): name for name in table.fieldnames or ()}
    found = [next((names[name] for name in known if name in names), None) for known in (_ARRIVAL, _PROMPT, _OUTPUT)]
    if None in found:
        return None
    rows = []
    for line in table:
        arrival, prompt, output = (line[name] for name in found)
        try:
            row = Row(_seconds(arrival), int(prompt), int(output))
        except (TypeError, ValueError):
            raise ValueError(f"{path}:{table.line_num}: not an arrival and two lengths: {line}") from None
        if row.prompt < 1 or row.output < 1:
            raise ValueError(f"{path}:{table.line_num}: a request has at least one token of each")
        rows.append(row)
    return rows


def _seconds(text: str) -> float:
    """Return a number of seconds, or a date's seconds since 1970 (Azure's have seven decimals)."""
    try:
        return float(text)
    except ValueError:
        whole, _, fraction = text.partition(".")
        return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")


def _read_any(path: Path) -> list[Row]:
    try:
        from simulator.core import InputError
        from simulator.workload.build import build
        from simulator.workload.spec import WorkloadSpec
    except ImportError:
        hint = f"needs columns {_ARRIVAL[0]} (seconds), {_PROMPT[0]} and {_OUTPUT[0]}"
        raise ValueError(f"{path}: {hint}; with Tokenyard installed for this Python other formats are read") from None
    try:
        table = build(WorkloadSpec(trace=str(path.resolve())), 0, Path.cwd())
    except InputError as error:
        raise ValueError(str(error)) from None
    columns = (table.arrival_ps / 1e12, table.prompt_tokens, table.output_tokens)
    return [Row(float(at), int(prompt), int(output)) for at, prompt, output in zip(*columns, strict=True)]


def choose(
    rows: Sequence[Row], *, skip: int = 0, requests: int | None = None, rate: float | None = None, seconds: float | None
) -> list[Row]:
    """Return a slice of a trace, its gaps scaled to ``rate`` requests a second, and cut after ``seconds`` of that.

    ValueError where nothing is left of it.
    """
    chosen = list(rows[skip : None if requests is None else skip + requests])
    if not chosen:
        raise ValueError(f"the trace has {len(rows)} requests, none after the first {skip}")
    first = chosen[0].arrival
    span = chosen[-1].arrival - first
    scale = 1.0
    if rate is not None:
        if span <= 0:
            raise ValueError("requests that arrive all at once have no rate to change")
        scale = (len(chosen) - 1) / span / rate
    scaled = [row._replace(arrival=(row.arrival - first) * scale) for row in chosen]
    return [row for row in scaled if seconds is None or row.arrival <= seconds]
