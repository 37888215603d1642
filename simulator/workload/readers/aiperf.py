"""Exports of AIPerf (0.2 to 0.13): ``profile_export.jsonl``, a line a request, and the summary beside it.

Source: "Working with Profile Export Files" in AIPerf's documentation. Metrics carry a value and a unit; times of
sending are wall-clock nanoseconds. The summary ``profile_export_aiperf.json`` tells the concurrency.
"""

from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.errors import InputError
from simulator.workload.readers.benchmark_run import BenchmarkRun, in_order, read_object, real, whole

SUMMARY, RECORDS = "profile_export_aiperf.json", "profile_export.jsonl"
_MS = {"ms": 1.0, "s": 1e3, "sec": 1e3, "us": 1e-3, "ns": 1e-6}


def is_aiperf(record: dict[str, Any]) -> bool:
    """Tell whether an object is a record of AIPerf."""
    return isinstance(record.get("metadata"), dict) and "request_start_ns" in record["metadata"]


def read_aiperf(path: Path, records: list[dict[str, Any]]) -> list[BenchmarkRun]:
    """Return the one run of a file; warm-ups, failed and cancelled requests are left out."""
    done = [record for record in records if _completed(record)]
    if not done:
        raise InputError("no request completed", where=str(path))
    output = whole([_value(record, "output_sequence_length") for record in done], "output_sequence_length", path)
    ttft = real([_value(record, "time_to_first_token") for record in done], "time_to_first_token", path)
    e2el = real([_value(record, "request_latency") for record in done], "request_latency", path)
    sent = [float(record["metadata"]["request_start_ns"]) * 1e-9 for record in done]
    return [
        in_order(
            BenchmarkRun(
                path.parent.name or path.stem,
                whole([_value(record, "input_sequence_length") for record in done], "input_sequence_length", path),
                output,
                ttft,
                np.where(output > 1, (e2el - ttft) / np.maximum(output - 1, 1), np.nan),
                e2el,
                concurrency=_concurrency(path.with_name(SUMMARY)),
                sent_s=np.array(sent),
            )
        )
    ]


def _completed(record: dict[str, Any]) -> bool:
    metadata, metrics = record.get("metadata") or {}, record.get("metrics") or {}
    warm_up = metadata.get("benchmark_phase", "profiling") != "profiling"
    failed = record.get("error") or metadata.get("was_cancelled")
    return not warm_up and not failed and "output_sequence_length" in metrics and "request_start_ns" in metadata


def _value(record: dict[str, Any], name: str) -> Any:
    """Return a metric's value, times in ms."""
    metric = record["metrics"].get(name) or {}
    value = metric.get("value")
    return value if value is None else float(value) * _MS.get(metric.get("unit", ""), 1.0)


def _concurrency(summary: Path) -> int | None:
    """Return the concurrency that the summary beside the records names; None without it, or with a request rate."""
    if not summary.exists():
        return None
    config = read_object(summary).get("input_config") or {}
    load = config.get("loadgen") or {}
    concurrency = load.get("concurrency")
    return None if load.get("request_rate") or not concurrency else int(concurrency)
