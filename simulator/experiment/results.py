"""The results folder: summary, configuration, and one row a request and a run of iterations."""

import csv
import json
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from simulator.core import PS_PER_S, Status
from simulator.engine.ledger import RUN_COLUMNS, Ledger
from simulator.experiment.arrow_columns import labels, numbers
from simulator.experiment.metrics import RequestTable
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, writer in self._writers.items():
            writer.close()
            if kind is None:
                self._part(name).replace(self.folder / name)
            else:
                self._part(name).unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        part = self._part(name)
        part.write_text(text, encoding="utf-8")
        part.replace(self.folder / name)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json``, and its metrics as ``summary.csv`` with one row a run."""
        self.write_text("summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
        part = self._part("summary.csv")
        with part.open("w", newline="", encoding="utf-8") as file:
            names = list(summary["runs"][0]["metrics"]) if summary["runs"] else []
            writer = csv.DictWriter(file, ["name", *names], lineterminator="\n")
            writer.writeheader()
            writer.writerows({"name": run["name"], **run["metrics"]} for run in summary["runs"])
        part.replace(self.folder / "summary.csv")

    def add_requests(self, run: str, table: RequestTable, workload: Workload) -> None:
        """Append a run's requests to ``requests.parquet``."""
        times = {
            "arrival_s": table.arrival,
            "admitted_s": table.admitted,
            "first_token_s": table.first_token,
            "finished_s": table.finished,
        }
        latencies = {"ttft_ms": table.ttft_ms(), "tpot_ms": table.tpot_ms(), "e2el_ms": table.e2el_ms()}
        status = np.where(table.failed, 2, np.where(table.completed, 1, 0))
        statuses = [Status.UNFINISHED.value, Status.COMPLETED.value, Status.FAILED.value]
        reasons = list(dict.fromkeys(request.failure for request in table.requests if request.failure is not None))
        code_of = {reason: code for code, reason in enumerate(reasons)}
        for low in range(0, len(table.requests), _ROWS):
            rows = slice(low, low + _ROWS)
            some = table.requests[rows]

            def field(name: str, kind: Any = np.int32, some: Sequence[Any] = some) -> Any:
                values = np.fromiter(map(attrgetter(name), some), np.int64, len(some))
                return values.astype(kind)

            reason = np.fromiter((code_of.get(request.failure or "", -1) for request in some), np.int64, len(some))
            self._write(
                "requests.parquet",
                {
                    "run": labels(np.zeros(len(some)), [run]),
                    "request": numbers(field("index", np.int64)),
                    "client": labels(field("client"), workload.clients),
                    "priority": numbers(field("priority")),
                    "instance": numbers(field("instance")),
                    **{name: numbers(times[name][rows] / PS_PER_S, times[name][rows] < 0) for name in times},
                    "prompt_tokens": numbers(field("prompt_tokens")),
                    "output_tokens": numbers(field("output_tokens")),
                    "cached_tokens": numbers(field("cached")),
                    "preemptions": numbers(field("preemptions")),
                    **{name: numbers(values[rows], np.isnan(values[rows])) for name, values in latencies.items()},
                    "status": labels(status[rows], statuses),
                    "reason": labels(reason, reasons),
                },
            )

    def add_iterations(self, run: str, ledgers: Sequence[Ledger]) -> None:
        """Append a run's iterations to ``iterations.parquet``, one row for consecutive ones of an unchanged batch."""
        for index, ledger in enumerate(ledgers):
            runs = ledger.runs()
            for low in range(0, len(runs), _ROWS):
                rows = dict(zip(RUN_COLUMNS, runs[low : low + _ROWS].T, strict=True))
                seconds = {"start_s": "start", "first_iteration_s": "first", "growth_s": "growth"}
                counts = {
                    "iterations": "iterations",
                    "decode_requests": "decodes",
                    "prefill_requests": "prefills",
                    "prefill_tokens": "prefill_tokens",
                }
                more = {"waiting": "waiting", "kv_blocks_used": "blocks_used", "preemptions": "preempted"}
                self._write(
                    "iterations.parquet",
                    {
                        "run": labels(np.zeros(len(rows["start"])), [run]),
                        "instance": numbers(np.full(len(rows["start"]), index, np.int32)),
                        **{name: numbers(rows[column] / PS_PER_S) for name, column in seconds.items()},
                        **{name: numbers(rows[column].astype(np.int32)) for name, column in counts.items()},
                        "context_tokens": numbers(rows["context"]),
                        **{name: numbers(rows[column].astype(np.int32)) for name, column in more.items()},
                    },
                )

    def _write(self, name: str, columns: dict[str, Any]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_arrays(list(columns.values()), list(columns))
        if name not in self._writers:
            self._writers[name] = pq.ParquetWriter(self._part(name), table.schema, compression="zstd")
        self._writers[name].write_table(table)

    def _part(self, name: str) -> Path:
        return self.folder / f".{name}.part"
