"""A results folder as the report sees it: the summary whole, the big tables one run at a time."""

import json
import math
import re
from collections.abc import Mapping, Sequence
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
    """One run of the summary. ``group`` is what it shares with runs that differ from it in the offered rate alone."""

    name: str
    group: str
    offered_rate: float
    metrics: Mapping[str, float | None]
    slo_ms: Mapping[str, float]
    cluster: Mapping[str, Any]
    coverage: Mapping[str, Any]

    def metric(self, name: str) -> float:
        """Return a metric in its own unit, NaN when it is undefined."""
        value = self.metrics.get(name)
        return math.nan if value is None else float(value)


@dataclass(frozen=True)
class Results:
    """A results folder: its runs in their order, and their tables on demand."""

    folder: Path
    experiment: str
    config: str
    runs: tuple[Run, ...]

    def requests(self, run: str, columns: Sequence[str]) -> dict[str, Column]:
        """Return columns of one run's requests, one entry a request; unknown times are NaN.

        Beside the file's numeric columns there is ``completed``, which is true or false.
        """
        return _read(self.folder / "requests.parquet", run, columns)

    def iterations(self, run: str, columns: Sequence[str]) -> dict[str, Column]:
        """Return columns of one run's iterations, one entry a stretch of an unchanged batch."""
        return _read(self.folder / "iterations.parquet", run, columns)


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
    return Results(folder, experiment, config.read_text(encoding="utf-8") if config.exists() else "", runs)


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
    )


def _group(entry: Mapping[str, Any], experiment: str) -> str:
    sweep = entry.get("sweep") or {}
    variant = entry.get("variant")
    if not sweep and variant is None:
        return _RATE_IN_NAME.sub("", str(entry["name"])).strip() or experiment
    others = [f"{_last(path)}={value}" for path, value in sweep.items() if "rate" not in _last(path)]
    return ", ".join([str(variant), *others] if variant else others) or experiment


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def _read(path: Path, run: str, columns: Sequence[str]) -> dict[str, Column]:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import dataset

    # A million strings would fill a gigabyte, and one comparison is all that anybody makes with them.
    fields = {name: pc.field(name) for name in columns if name != "completed"}
    if "completed" in columns:
        fields["completed"] = pc.field("status") == "completed"
    try:
        table = dataset.dataset(path, format="parquet").to_table(columns=fields, filter=pc.field("run") == run)
    except FileNotFoundError:
        raise InputError(f"no {path.name} here", where=str(path.parent), hint="repeat the run") from None
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"cannot be read: {reason}", where=str(path), hint="repeat the run") from None
    return {name: np.asarray(table[name].to_numpy()) for name in columns}
