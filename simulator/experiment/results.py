"""The results folder: summary, configuration, and one row a request, a run of iterations, a stretch of tokens."""

import csv
import json
from collections.abc import Collection, Sequence
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from simulator.cluster.moves import Move
from simulator.core import PS_PER_S, Status
from simulator.engine.ledger import RUN_COLUMNS, Ledger, iteration_ends
from simulator.experiment.arrow_columns import labels, numbers
from simulator.experiment.metrics import RequestTable
from simulator.workload.table import Workload

_MOVES = ["transfer", "migration"]
_ROWS = 1 << 17  # rows turned into Arrow at a time: bounds the memory of writing


class ResultsFolder:
    """Writes one experiment's results; each file appears whole or not at all.

    Rows are written run by run, so that nothing of a finished run is lost and memory holds one run. ``columns``: those
    that ``requests.parquet`` has only where some run has figures for them (``optional_columns``).
    """

    def __init__(self, folder: Path, *, columns: Collection[str] = ()) -> None:
        self.folder = folder
        self._columns = columns
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

    def add_requests(self, run: str, table: RequestTable, workload: Workload, models: Sequence[str] = ()) -> None:
        """Append a run's requests to ``requests.parquet``; ``models`` by the numbers of ``workload.model``."""
        times = {
            "arrival_s": table.arrival,
            "admitted_s": table.admitted,
            "first_token_s": table.first_token,
            "finished_s": table.finished,
        }
        latencies = {"ttft_ms": table.ttft_ms(), "tpot_ms": table.tpot_ms(), "e2el_ms": table.e2el_ms()}
        status = np.where(table.failed, 2, np.where(table.completed, 1, 0))
        statuses = [Status.UNFINISHED.value, Status.COMPLETED.value, Status.FAILED.value]
        failed = [table.requests[row] for row in np.flatnonzero(table.failed).tolist()]
        reasons = list(dict.fromkeys(request.failure for request in failed if request.failure is not None))
        code_of = {reason: code for code, reason in enumerate(reasons)}
        named = list(dict.fromkeys(models))  # a trace may know one by several names
        # Without names nobody asked the workload, whatever it says; the last entry is for those that have none, -1.
        model_of = np.array([*(map(named.index, models) if models else [-1] * len(workload.models)), -1])
        for low in range(0, len(table.requests), _ROWS):
            rows = slice(low, low + _ROWS)
            some = table.requests[rows]

            def field(name: str, kind: Any = np.int32, some: Sequence[Any] = some) -> Any:
                values = np.fromiter(map(attrgetter(name), some), np.int64, len(some))
                return values.astype(kind)

            reason = np.full(len(some), -1)
            if reasons:
                reason[:] = [code_of.get(request.failure or "", -1) for request in some]
            self._write(
                "requests.parquet",
                {
                    "run": labels(np.zeros(len(some)), [run]),
                    "request": numbers(field("index", np.int64)),
                    "client": labels(field("client"), workload.clients),
                    **({"model": labels(model_of[field("model")], named)} if "model" in self._columns else {}),
                    "priority": numbers(field("priority")),
                    "instance": numbers(field("instance")),
                    **{name: numbers(times[name][rows] / PS_PER_S, times[name][rows] < 0) for name in times},
                    **({"lead_s": numbers(field("lead", np.int64) / PS_PER_S)} if "lead_s" in self._columns else {}),
                    "prompt_tokens": numbers(field("prompt_tokens")),
                    "output_tokens": numbers(table.output_tokens[rows].astype(np.int32)),
                    "cached_tokens": numbers(field("cached")),
                    "preemptions": numbers(table.preemptions[rows].astype(np.int32)),
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

    def add_spans(self, run: str, ledgers: Sequence[Ledger]) -> None:
        """Append to ``spans.parquet`` in which stretches a run's requests made their tokens, by request and time."""
        tables = [_token_spans(ledger.spans(), ledger.runs(), index) for index, ledger in enumerate(ledgers)]
        spans = np.concatenate(tables)
        spans = spans[np.lexsort((spans[:, 2], spans[:, 0]))]
        for low in range(0, len(spans), _ROWS):
            request, instance, first, last, tokens = spans[low : low + _ROWS].T
            self._write(
                "spans.parquet",
                {
                    "run": labels(np.zeros(len(request)), [run]),
                    "request": numbers(request),
                    "instance": numbers(instance.astype(np.int32)),
                    "first_token_s": numbers(first / PS_PER_S),
                    "last_token_s": numbers(last / PS_PER_S),
                    "tokens": numbers(tokens.astype(np.int32)),
                },
            )

    def add_moves(self, run: str, moves: Sequence[Move]) -> None:
        """Append a run's transfers and migrations of KV to ``moves.parquet``, which is not there if nothing moved."""
        for low in range(0, len(moves), _ROWS):
            kinds, *columns = zip(*moves[low : low + _ROWS], strict=True)
            request, source, target, asked, started, ended, size, stopped = (np.array(c, np.int64) for c in columns)
            seconds = {"asked_s": asked, "started_s": started, "ended_s": ended, "stopped_s": stopped}
            self._write(
                "moves.parquet",
                {
                    "run": labels(np.zeros(len(kinds)), [run]),
                    "kind": labels(np.array([_MOVES.index(kind) for kind in kinds]), _MOVES),
                    "request": numbers(request),
                    "source": numbers(source.astype(np.int32)),
                    "target": numbers(target.astype(np.int32)),
                    **{name: numbers(times / PS_PER_S) for name, times in seconds.items()},
                    "bytes": numbers(size),
                },
            )

    def copy_rows(self, name: str, sources: Sequence[Path]) -> None:
        """Write the tables of that name of other results folders one after the other, row group by row group.

        A column that only some of them have is null for the others; folders without such a table are passed over.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = [source / name for source in sources if (source / name).exists()]
        schema = pa.unify_schemas(sorted(map(pq.read_schema, files), key=len, reverse=True)) if files else pa.schema([])
        for path in files:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group)
                    missing = [each for each in schema if each.name not in rows.column_names]
                    for each in missing:
                        rows = rows.append_column(each, pa.nulls(len(rows), each.type))
                    self._append(name, rows.select(schema.names) if missing else rows)

    def _write(self, name: str, columns: dict[str, Any]) -> None:
        import pyarrow as pa

        self._append(name, pa.Table.from_arrays(list(columns.values()), list(columns)))

    def _append(self, name: str, table: Any) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if name not in self._writers:
            # Few numbers repeat: giving them dictionaries, as by default, takes twice the time and more bytes.
            texts = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
            self._writers[name] = pq.ParquetWriter(
                self._part(name), table.schema, compression="zstd", use_dictionary=texts
            )
        self._writers[name].write_table(table)

    def _part(self, name: str) -> Path:
        return self.folder / f".{name}.part"


def optional_columns(workload: Workload, models: Sequence[str]) -> set[str]:
    """Return the columns of ``requests.parquet`` that there are only for such a workload, asking for such models."""
    return {name for name, there in (("model", models), ("lead_s", workload.lead_ps is not None)) if there}


def _token_spans(spans: NDArray[np.int64], runs: NDArray[np.int64], instance: int) -> NDArray[np.int64]:
    """Return request, instance, first and last token's time in ps, and tokens of each span; shape (spans, 5)."""
    if not len(spans):
        return np.empty((0, 5), np.int64)
    request, first, last = spans[:, 0], spans[:, 1], spans[:, 2]
    # Iterations that somebody decodes in, up to and including each: those between that nobody does make no token.
    ends = np.cumsum(runs[:, 3])
    decoding = np.cumsum(np.where(runs[:, 4] > 0, runs[:, 3], 0))

    def decodes_to(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        row = np.searchsorted(ends, numbers, side="right")
        left: NDArray[np.int64] = np.where(runs[row, 4] > 0, ends[row] - 1 - numbers, 0)
        return decoding[row] - left

    tokens = decodes_to(last) - decodes_to(first) + 1
    times = iteration_ends(runs, first), iteration_ends(runs, last)
    return np.stack([request, np.full(len(spans), instance), *times, tokens], axis=1)
