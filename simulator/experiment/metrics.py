"""Metrics of a run, under the names that benchmark clients use."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.cluster.moves import Move
from simulator.core import PS_PER_MS, PS_PER_S, Request
from simulator.engine.latencies import InterTokenLatencies
from simulator.engine.ledger import Ledger
from simulator.experiment.schema import Slo

Float = NDArray[np.float64]
Int = NDArray[np.int64]
_OF_THE_CLUSTER = ("kv_transfers", "migrations", "gpu_hours")
_PERCENTILES = {"median": 50, "p90": 90, "p95": 95, "p99": 99}


@dataclass(frozen=True)
class RequestTable:
    """Requests as columns, in the order they were sent; times in ps, -1 while unknown.

    ``arrival`` is when they were asked for, before what they spend on their way to the cluster.
    """

    requests: Sequence[Request]
    arrival: Int
    admitted: Int
    first_token: Int
    finished: Int
    output_tokens: Int
    preemptions: Int
    completed: NDArray[np.bool_]
    failed: NDArray[np.bool_]

    @classmethod
    def of(cls, requests: Sequence[Request]) -> "RequestTable":
        """Return the columns of a list of requests."""

        def column(name: str) -> Int:
            return np.fromiter(map(attrgetter(name), requests), np.int64, len(requests))

        finished = column("finished_at")
        failed = np.fromiter((r.failure is not None for r in requests), bool, len(requests))
        return cls(
            requests,
            column("arrival") - column("lead"),
            column("admitted_at"),
            column("first_token_at"),
            finished,
            column("output_tokens"),
            column("preemptions"),
            (finished >= 0) & ~failed,
            failed,
        )

    def of_model(self, numbers: Collection[int]) -> "RequestTable":
        """Return the requests that ask for a model, which the workload knows by these numbers."""
        rows = np.array([row for row, request in enumerate(self.requests) if request.model in numbers], np.int64)
        columns = {each.name: getattr(self, each.name)[rows] for each in fields(self) if each.name != "requests"}
        return RequestTable([self.requests[row] for row in rows], **columns)

    def answers(self) -> "RequestTable":
        """Return one row for all requests of a task: those that follow one another to answer one question.

        It arrives with the first of them, has its first token with the first that is shown, is finished with the last,
        and fails if any of them does; its output is what is shown. Without such requests this is the table itself.
        """
        if all(request.after < 0 for request in self.requests):
            return self
        rows = {request.index: row for row, request in enumerate(self.requests)}
        roots = [row for row, request in enumerate(self.requests) if request.after < 0]
        number = {row: task for task, row in enumerate(roots)}
        task = np.array([number[_root(request, self.requests, rows)] for request in self.requests])
        shown = np.array([request.shown for request in self.requests])

        def total(values: Int | NDArray[np.bool_]) -> Int:
            return np.bincount(task, weights=values, minlength=len(roots)).astype(np.int64)

        count, missing = np.bincount(task, minlength=len(roots)), np.int64(2**62)
        first = np.full(len(roots), missing)
        np.minimum.at(first, task, np.where(shown & (self.first_token >= 0), self.first_token, missing))
        last = np.full(len(roots), np.int64(-1))
        np.maximum.at(last, task, self.finished)
        completed, ended = total(self.completed) == count, total(self.finished >= 0) == count
        return RequestTable(
            [self.requests[row] for row in roots],
            self.arrival[roots],
            self.admitted[roots],
            np.where(first < missing, first, -1),
            np.where(ended, last, -1),
            total(np.where(shown, self.output_tokens, 0)),
            total(self.preemptions),
            completed,
            total(self.failed) > 0,
        )

    def ttft_ms(self) -> Float:
        """Time to first token; NaN for requests without one."""
        return _since(self.first_token, self.arrival)

    def e2el_ms(self) -> Float:
        """End-to-end latency; NaN for requests that did not complete."""
        return np.where(self.completed, _since(self.finished, self.arrival), np.nan)

    def tpot_ms(self) -> Float:
        """Time per output token after the first; NaN for requests that did not complete or made only one."""
        further = np.where(self.completed & (self.output_tokens > 1), self.output_tokens - 1, 1)
        spent = _since(self.finished, self.first_token) / further
        return np.where(self.completed & (self.output_tokens > 1), spent, np.nan)


def _since(end: Int, start: Int) -> Float:
    return np.where((end >= 0) & (start >= 0), (end - start) / PS_PER_MS, np.nan)


def _root(request: Request, requests: Sequence[Request], rows: dict[int, int]) -> int:
    while request.after >= 0:
        request = requests[rows[request.after]]
    return rows[request.index]


def summarize(table: RequestTable, ledgers: Sequence[Ledger], slo: Slo, gpus: int) -> dict[str, Any]:
    """Return the metrics of a run; those that are undefined (no request completed, no SLO set) are None.

    Duration runs from the first arrival to the last request's end; throughputs count completed requests and their
    tokens. A request is good if it completed within every objective that is set (one-token outputs meet any TPOT).
    Requests that follow one another count as one (``RequestTable.answers``).
    """
    table = table.answers()
    done = table.completed
    ended = table.finished[table.finished >= 0]
    duration = float(ended.max() - table.arrival.min()) / PS_PER_S if len(ended) else 0.0
    latencies = {"ttft": table.ttft_ms()[done], "tpot": table.tpot_ms(), "e2el": table.e2el_ms()[done]}
    good = _good(table, slo)
    metrics: dict[str, Any] = {
        "completed": int(done.sum()),
        "failed": int(table.failed.sum()),
        "duration_s": duration,
        "request_throughput": _rate(done.sum(), duration),
        "output_throughput": _rate(table.output_tokens[done].sum(), duration),
        "request_goodput": None if good is None else _rate(good.sum(), duration),
        "slo_attainment": None if good is None or not len(good) else float(good.mean()),
    }
    for name in ("ttft", "tpot"):
        metrics |= _spread(name, latencies[name])
    itl = InterTokenLatencies(ledgers)
    metrics["mean_itl_ms"] = _number(itl.mean() / PS_PER_MS)
    for label, percent in _PERCENTILES.items():
        metrics[f"{label}_itl_ms"] = _number(itl.percentile(percent) / PS_PER_MS)
    metrics |= _spread("e2el", latencies["e2el"])
    return metrics | {
        "preemptions": int(table.preemptions.sum()),
        "kv_transfers": 0,
        "migrations": 0,
        "gpu_hours": gpus * duration / 3600,
    }


def summarize_models(
    table: RequestTable, models: Sequence[str], ledgers: Mapping[str, Sequence[Ledger]], slo: Slo
) -> dict[str, Any]:
    """Return what the requests of each model went through, as ``summarize`` has it, over their own duration.

    ``models`` has the name of each number that the workload has for one; ``ledgers`` by model those of its instances.
    What counts GPUs and moves is left out.
    """
    found = {}
    for name, its in ledgers.items():
        mine = table.of_model({number for number, each in enumerate(models) if each == name})
        if len(mine.requests):
            metrics = summarize(mine, its, slo, 0)
            found[name] = {key: metrics[key] for key in metrics if key not in _OF_THE_CLUSTER}
    return found


def count_moves(moves: Sequence[Move]) -> dict[str, int]:
    """Return how often KV went from one instance to another: transfers after a prompt, and migrations."""
    kinds = [move.kind for move in moves]
    return {"kv_transfers": kinds.count("transfer"), "migrations": kinds.count("migration")}


def _good(table: RequestTable, slo: Slo) -> NDArray[np.bool_] | None:
    limits = {"ttft_ms": slo.ttft, "tpot_ms": slo.tpot, "e2el_ms": slo.e2el}
    if all(limit is None for limit in limits.values()):
        return None
    good: NDArray[np.bool_] = table.completed.copy()
    for name, limit in limits.items():
        if limit is not None:
            # NaN compares false: what has no TPOT cannot miss it.
            good &= ~(getattr(table, name)() > limit * 1e3)
    return good


def _spread(name: str, values: Float) -> dict[str, float | None]:
    values = values[~np.isnan(values)]
    if not len(values):
        return {f"{label}_{name}_ms": None for label in ("mean", *_PERCENTILES)}
    values = np.sort(values)
    spread: dict[str, float | None] = {f"mean_{name}_ms": float(values.mean())}
    return spread | {f"{label}_{name}_ms": _percentile(values, percent) for label, percent in _PERCENTILES.items()}


def _percentile(ordered: Float, percent: float) -> float:
    """Return what ``np.percentile`` would, which costs an import of ``numpy.ma`` and a pass for each figure."""
    rank = percent / 100 * (len(ordered) - 1)
    lower = int(rank)
    upper = min(lower + 1, len(ordered) - 1)
    return float(ordered[lower] + (ordered[upper] - ordered[lower]) * (rank - lower))


def _rate(amount: Any, duration: float) -> float | None:
    return float(amount) / duration if duration > 0 else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
