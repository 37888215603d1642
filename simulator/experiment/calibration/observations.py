"""What was measured, as the calibration sees it: one simulation each, with the figures it should give."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core import InputError
from simulator.experiment.calibration.recipe import DataSet
from simulator.experiment.validation import open_loop, open_loop_stage, saturated
from simulator.experiment.validation.measured_csv import Row, read_rows
from simulator.experiment.validation.point import Point, read_points
from simulator.experiment.validation.predict import Prediction, predict
from simulator.experiment.validation.request_run import read_run, run_folders


@dataclass(frozen=True)
class Observation:
    """One measured thing: ``measured`` in ms by name, and what to simulate for it.

    ``subject`` is a point, a row, a run's rows or its folder; ``kind`` says which.
    """

    group: str
    kind: str
    subject: Any
    measured: dict[str, float]

    def simulated(self, engine: str) -> dict[str, float] | str:
        """Return the simulated figures in ms by name with an engine profile's path, or why it cannot be simulated."""
        try:
            figures = _SIMULATE[self.kind](self.subject, engine)
        except InputError as problem:
            return str(problem)
        return {name: figures[name] for name in self.measured if name in figures}


def observations(folder: Path, data: DataSet) -> list[Observation]:
    """Return the observations of a data set whose files are in a folder; InputError when it has none."""
    found = _READ[data.kind](folder / data.file, data)
    if not found:
        raise InputError(f"no row of {data.file} is in group '{data.group}'", where=str(folder / data.file))
    return found


def _points(path: Path, data: DataSet) -> list[Observation]:
    rows = zip(read_points(path), read_rows(path, ()), strict=True)
    found = []
    for point, row in rows:
        if not _chosen(row, data) or not point.concurrency:
            continue
        measured = {}
        if "tpot" in data.metrics and point.counts_for_tpot:
            measured["tpot"] = point.tpot
        if "ttft" in data.metrics and point.counts_for_ttft:
            measured["ttft"] = point.ttft
        if measured:
            found.append(Observation(data.group, data.kind, point, measured))
    return found


def _simulate_point(point: Point, engine: str) -> dict[str, float]:
    client = point.client()
    prediction = predict(replace(point.setup(), engine=engine), client.workload(0), warmups=client.warmups)
    return _means(prediction)


def _saturated(path: Path, data: DataSet) -> list[Observation]:
    columns = {"itl": "median_itl_ms", "itl_p99": "p99_itl_ms"}
    return [
        Observation(data.group, data.kind, row, {name: row.latency(columns[name]) for name in data.metrics})
        for row in read_rows(path, saturated.REQUIRED)
        if _chosen(row, data) and saturated.counts(row)
    ]


def _simulate_saturated(row: Row, engine: str) -> dict[str, float]:
    batch = round(row.latency("avg_batch_size"))
    setup = replace(saturated.setup_of(row), engine=engine)
    prediction = predict(setup, saturated.client_of(row, batch).workload(0))
    return {"itl": saturated.steady_itl(prediction, batch), "itl_p99": saturated.steady_itl(prediction, batch, 0.99)}


def _open_loop(path: Path, data: DataSet) -> list[Observation]:
    found = []
    for stages in open_loop.read_runs(path):
        if not _chosen(stages[0], data) or any(open_loop.overloaded(stage) for stage in stages):
            continue
        measured: dict[str, float] = {}
        for index, stage in enumerate(stages):
            columns = {"ttft": "ttft_p50_ms", "ttft_p99": "ttft_p99_ms", "e2el": "e2e_mean_ms"}
            for metric in data.metrics:
                column = columns.get(metric)
                measured[f"{metric} {index}"] = open_loop.tpot_of(stage) if column is None else stage.latency(column)
        found.append(Observation(data.group, data.kind, stages, measured))
    return found


def _simulate_open_loop(stages: Sequence[Row], engine: str) -> dict[str, float]:
    prediction = predict(
        replace(open_loop_stage.setup_of(stages[0]), engine=engine), open_loop_stage.workload_of(stages, 0)
    )
    figures, first = {}, 0
    for index, stage in enumerate(stages):
        rows = slice(first, first + stage.size("requests"))
        first = rows.stop
        figures[f"tpot {index}"] = float(np.nanmean(prediction.tpot[rows]))
        figures[f"ttft {index}"] = float(np.median(prediction.ttft[rows]))
        figures[f"ttft_p99 {index}"] = float(np.percentile(prediction.ttft[rows], 99))
        figures[f"e2el {index}"] = float(prediction.e2el[rows].mean())
    return figures


def _requests(path: Path, data: DataSet) -> list[Observation]:
    found = []
    for folder in run_folders(path):
        run = read_run(folder)
        measured = {str(name): float(np.nanmean(getattr(run, name))) for name in data.metrics if name != "itl"}
        found.append(Observation(data.group, data.kind, folder, measured))
    return found


def _simulate_requests(folder: Path, engine: str) -> dict[str, float]:
    run = read_run(folder)
    return _means(predict(replace(run.setup, engine=engine), run.workload))


def _means(prediction: Prediction) -> dict[str, float]:
    return {name: float(np.nanmean(getattr(prediction, name))) for name in ("ttft", "tpot", "e2el")}


def _chosen(row: Row, data: DataSet) -> bool:
    return all(
        row.text(column) in ([wanted] if isinstance(wanted, str) else wanted) for column, wanted in data.where.items()
    )


_READ: dict[str, Callable[[Path, DataSet], list[Observation]]] = {
    "points": _points,
    "saturated": _saturated,
    "open_loop": _open_loop,
    "requests": _requests,
}
_SIMULATE: dict[str, Callable[[Any, str], dict[str, float]]] = {
    "points": _simulate_point,
    "saturated": _simulate_saturated,
    "open_loop": _simulate_open_loop,
    "requests": _simulate_requests,
}
