"""A results folder as the report sees it: the summary whole, the big tables one run at a time."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import InputError

Column = NDArray[Any]
SCHEMA = 1

# How a rate looks in a run's name: "rate_scale=2", "workload.rate: 4/s", "12.5rps".
_NUMBER = r"\d+(?:\.\d+)?"
_RATE_IN_NAME = re.compile(
    rf"[\s,;@/_-]*(?:(?:[\w.]*\.)?(?:rate_scale|rate|qps|rps)\s*[=:]?\s*{_NUMBER}(?:/s|/min|rps|qps)?"
    rf"|{_NUMBER}\s*(?:rps|qps|req/s|/s))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Run:
    """One run of the summary.

    ``group`` is what it shares with runs that differ from it in the offered rate or the seed alone.
    """

    name: str
    group: str
    offered_rate: float
    metrics: Mapping[str, float | None]
    slo_ms: Mapping[str, float]
    cluster: Mapping[str, Any]
    coverage: Mapping[str, Any]
    workload: Mapping[str, Any]
    by_model: Mapping[str, Mapping[str, float | None]]

    def metric(self, name: str) -> float:
        """Return a metric in its own unit, NaN when it is undefined."""
        value = self.metrics.get(name)
        return math.nan if value is None else float(value)


@dataclass(frozen=True)
class Results:
    """A results folder: its runs in their order, their tables on demand, and what replicas say about differences."""

    folder: Path
    experiment: str
    config: str
    runs: tuple[Run, ...]
    comparison: Mapping[str, Any]

    @property
    def tables(self) -> tuple["RunTables", ...]:
        """Return every run with its tables, in order."""
        return tuple(RunTables(run, self.folder, run.name) for run in self.runs)


@dataclass(frozen=True)
class RunTables:
    """A run and where its tables lie. ``run.name`` is what it is called on a page, ``stored_name`` in the files."""

    run: Run
    folder: Path
    stored_name: str

    def requests(self, columns: Sequence[str]) -> dict[str, Column]:
        """Return columns of the run's requests, one entry a request; unknown times are NaN.

        Beside the file's numeric columns there is ``completed``, which is true or false.
        """
        return _read(self.folder / "requests.parquet", self.stored_name, columns)

    def iterations(self, columns: Sequence[str]) -> dict[str, Column]:
        """Return columns of the run's iterations, one entry a stretch of an unchanged batch."""
        path = self.folder / "iterations.parquet"
        if not path.exists() and self.run.metric("completed") == 0:
            # Where every request fails on arrival, no instance runs anything, and nothing is written.
            return {name: np.array([]) for name in columns}
        return _read(path, self.stored_name, columns)

    def spans(self, columns: Sequence[str]) -> dict[str, Column] | None:
        """Return columns of the stretches in which requests made tokens; ``None`` for results that don't hold them."""
        path = self.folder / "spans.parquet"
        return _read(path, self.stored_name, columns) if path.exists() else None

    def moves(self, columns: Sequence[str]) -> dict[str, Column] | None:
        """Return columns of the moves of KV between instances, texts as objects; ``None`` where nothing moved."""
        path = self.folder / "moves.parquet"
        return _read(path, self.stored_name, columns) if path.exists() else None

    def request_columns(self) -> frozenset[str]:
        """Return the names of the columns that ``requests.parquet`` has: later versions add some."""
        with _explained(self.folder / "requests.parquet") as path:
            from pyarrow import parquet

            return frozenset(parquet.read_schema(path).names)

    def failures(self) -> dict[str, int]:
        """Return why requests failed, and how many for each reason, most frequent first."""
        with _explained(self.folder / "requests.parquet") as path:
            import pyarrow.compute as pc
            from pyarrow import dataset

            failed = (pc.field("run") == self.stored_name) & (pc.field("status") == "failed")
            reasons = dataset.dataset(path, format="parquet").to_table(columns=["reason"], filter=failed)["reason"]
            counts = Counter(str(reason or "no reason recorded") for reason in reasons.to_pylist())
        return dict(counts.most_common())


def read_results(folder: Path) -> Results:
    """Read a results folder's summary and configuration; raise ``InputError`` where that is impossible."""
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            "no summary.json here", where=str(folder), hint="give the folder that 'tokenyard run' printed"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), hint="repeat the run") from None
    if not isinstance(summary, dict) or summary.get("schema") != SCHEMA:
        found = summary.get("schema") if isinstance(summary, dict) else None
        raise InputError(
            f"schema {found!r}, but this version reads schema {SCHEMA}", where=str(path), hint="repeat the run"
        )
    try:
        runs = runs_of(summary)
        experiment = str(summary["experiment"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"not a summary of runs: {error!r}", where=str(path), hint="repeat the run") from None
    config = folder / "config.resolved.yaml"
    text = config.read_text(encoding="utf-8") if config.exists() else ""
    return Results(folder, experiment, text, runs, summary.get("comparison") or {})


def runs_of(summary: Mapping[str, Any]) -> tuple[Run, ...]:
    """Return the runs of a parsed ``summary.json``, in its order."""
    return tuple(_run(entry, str(summary["experiment"])) for entry in summary["runs"])


def _run(entry: Mapping[str, Any], experiment: str) -> Run:
    rate = entry.get("offered_rate")
    slo = entry.get("slo") or {}
    return Run(
        name=str(entry["name"]),
        group=_group(entry, experiment),
        offered_rate=math.nan if rate is None else float(rate),
        metrics=entry["metrics"],
        slo_ms={key.removesuffix("_ms"): float(value) for key, value in slo.items() if value is not None},
        cluster=entry.get("cluster") or {},
        coverage=entry.get("coverage") or {},
        workload=entry.get("workload") or {},
        by_model=entry.get("by_model") or {},
    )


def _group(entry: Mapping[str, Any], experiment: str) -> str:
    sweep = entry.get("sweep") or {}
    variant = entry.get("variant")
    if not sweep and variant is None:
        return _RATE_IN_NAME.sub("", str(entry["name"])).strip() or experiment
    # Runs that differ in their seed alone are replicas of one thing, too.
    others = [f"{_last(path)}={v}" for path, v in sweep.items() if path != "seed" and "rate" not in _last(path)]
    return ", ".join([str(variant), *others] if variant else others) or experiment


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1]


@contextmanager
def _explained(path: Path) -> Iterator[Path]:
    """Turn what reading a table may raise into an ``InputError`` that names the file."""
    import pyarrow as pa

    try:
        yield path
    except FileNotFoundError:
        raise InputError(f"no {path.name} here", where=str(path.parent), hint="repeat the run") from None
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"cannot be read: {reason}", where=str(path), hint="repeat the run") from None


def _read(path: Path, run: str, columns: Sequence[str]) -> dict[str, Column]:
    import pyarrow.compute as pc
    from pyarrow import dataset

    # A million strings would fill a gigabyte, and one comparison is all that anybody makes with them.
    fields = {name: pc.field(name) for name in columns if name != "completed"}
    if "completed" in columns:
        fields["completed"] = pc.field("status") == "completed"
    with _explained(path):
        table = dataset.dataset(path, format="parquet").to_table(columns=fields, filter=pc.field("run") == run)
    return {name: np.asarray(table[name].to_numpy()) for name in columns}
