"""The results folder: summary, configuration, and one row a request and a run of iterations."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from simulator.core import PS_PER_S, Status
from simulator.engine.ledger import RUN_COLUMNS, Ledger
from simulator.experiment.metrics import Int, RequestTable
from simulator.workload.table import Workload

_ROWS = 1 << 17  # rows turned into Arrow at a time: bounds the memory of writing


class ResultsFolder:
    """Writes one experiment's results; each file appears whole or not at all.

    Rows are written run by run, so that nothing of a finished run is lost and memory holds one run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._writers: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for name, writer in self._writers.items():
            writer.close()
            if kind is None:
                os.replace(self._part(name), self.folder / name)
            else:
                self._part(name).unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        part = self._part(name)
        part.write_text(text, encoding="utf-8")
        os.replace(part, self.folder / name)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json``, and its metrics as ``summary.csv`` with one row a run."""
        self.write_text("summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
        part = self._part("summary.csv")
        with part.open("w", newline="", encoding="utf-8") as file:
            names = list(summary["runs"][0]["metrics"]) if summary["runs"] else []
            writer = csv.DictWriter(file, ["name", *names], lineterminator="\n")
            writer.writeheader()
            writer.writerows({"name": run["name"], **run["metrics"]} for run in summary["runs"])
        os.replace(part, self.folder / "summary.csv")

    def add_requests(self, run: str, table: RequestTable, workload: Workload) -> None:
        """Append a run's requests to ``requests.parquet``."""
        import pyarrow as pa

        columns = {"ttft_ms": table.ttft_ms(), "tpot_ms": table.tpot_ms(), "e2el_ms": table.e2el_ms()}
        times = {
            "arrival_s": table.arrival,
            "admitted_s": table.admitted,
            "first_token_s": table.first_token,
            "finished_s": table.finished,
        }
        clients, statuses = np.array([*workload.clients, None], dtype=object), [status.value for status in Status]
        codes = np.where(table.failed, 2, np.where(table.completed, 1, 0)).astype(np.int8)
        for low in range(0, len(table.requests), _ROWS):
            rows = slice(low, low + _ROWS)
            some = table.requests[rows]
            count = len(some)

            def ints(name: str, kind: Any, some: Sequence[Any] = some, count: int = count) -> Any:
                return pa.array(np.fromiter((getattr(r, name) for r in some), np.int64, count).astype(kind))

            data = {
                "run": _repeated(run, count),
                "request": ints("index", np.int64),
                "client": pa.array(clients[[r.client for r in some]], pa.string()),
                "priority": ints("priority", np.int32),
                "instance": ints("instance", np.int32),
                **{name: _or_null(times[name][rows] / PS_PER_S, times[name][rows] < 0) for name in times},
                "prompt_tokens": ints("prompt_tokens", np.int32),
                "output_tokens": ints("output_tokens", np.int32),
                "cached_tokens": ints("cached", np.int32),
                "preemptions": ints("preemptions", np.int32),
                **{name: _or_null(values[rows], np.isnan(values[rows])) for name, values in columns.items()},
                "status": pa.DictionaryArray.from_arrays(codes[rows], statuses).cast(pa.string()),
                "reason": pa.array([r.failure for r in some], pa.string()),
            }
            self._write("requests.parquet", pa.table(data))

    def add_iterations(self, run: str, ledgers: Sequence[Ledger]) -> None:
        """Append a run's iterations to ``iterations.parquet``, one row for consecutive ones of an unchanged batch."""
        import pyarrow as pa

        for index, ledger in enumerate(ledgers):
            runs = ledger.runs()
            for low in range(0, len(runs), _ROWS):
                column = dict(zip(RUN_COLUMNS, runs[low : low + _ROWS].T, strict=True))
                data = {
                    "run": _repeated(run, len(column["start"])),
                    "instance": pa.array(np.full(len(column["start"]), index, np.int32)),
                    "start_s": pa.array(column["start"] / PS_PER_S),
                    "first_iteration_s": pa.array(column["first"] / PS_PER_S),
                    "growth_s": pa.array(column["growth"] / PS_PER_S),
                    "iterations": _int32(column["iterations"]),
                    "decode_requests": _int32(column["decodes"]),
                    "prefill_requests": _int32(column["prefills"]),
                    "prefill_tokens": _int32(column["prefill_tokens"]),
                    "context_tokens": pa.array(column["context"]),
                    "waiting": _int32(column["waiting"]),
                    "kv_blocks_used": _int32(column["blocks_used"]),
                    "preemptions": _int32(column["preempted"]),
                }
                self._write("iterations.parquet", pa.table(data))

    def _write(self, name: str, table: Any) -> None:
        import pyarrow.parquet as pq

        if name not in self._writers:
            self._writers[name] = pq.ParquetWriter(self._part(name), table.schema, compression="zstd")
        self._writers[name].write_table(table)

    def _part(self, name: str) -> Path:
        return self.folder / f".{name}.part"


def _int32(values: Int) -> Any:
    import pyarrow as pa

    return pa.array(values.astype(np.int32))


def _or_null(values: Any, unknown: Any) -> Any:
    import pyarrow as pa

    return pa.array(values, mask=unknown)


def _repeated(value: str, count: int) -> Any:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), [value])


