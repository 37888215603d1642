"""Recorded runs of real engines, request by request, beside simulated ones."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from simulator.core import InputError
from simulator.experiment.validation.known_names import NotCovered
from simulator.experiment.validation.predict import predict
from simulator.experiment.validation.request_run import read_run, run_folders
from simulator.experiment.validation.scores import compare, worst_mean
from simulator.experiment.validation.workers import Listener, on_all
from simulator.hardware.engine_profile import load_engine

METRICS = ("ttft", "tpot", "e2el")


def validate_requests(
    folder: Path, *, engine: str = "vllm", workers: int | None = 1, progress: Listener | None = None
) -> dict[str, Any]:
    """Replay the recorded arrivals and lengths of every run in a folder and compare latencies.

    ``engine``: the engine profile that the runs are simulated with, by name or as the path of its YAML.

    ``overall`` has ``points`` (runs), ``requests`` and ``worst_mean_error`` (the largest absolute error of a run's mean
    TTFT, TPOT or end-to-end latency, a fraction) with ``worst`` naming it, and ``worst_tail_error`` over p90 and p99.
    ``groups`` has a run's ``errors`` (signed), ``measured_ms`` and ``predicted_ms``, each by metric and statistic.
    ``not_covered`` has runs that cannot be simulated, with the reason, ``assumptions`` what was taken for granted.
    """
    load_engine(engine)  # an unknown name should not look like a run that cannot be simulated
    folders = run_folders(folder)
    # A single run that cannot be read is a mistake, one of many a gap.
    compared = partial(compare_run, engine=engine, strict=len(folders) == 1)
    runs = on_all(compared, folders, workers=workers, progress=progress)
    groups = [run for run in runs if "reason" not in run]
    return {
        "overall": worst_mean(groups) | {"not_covered": len(runs) - len(groups)},
        "groups": groups,
        "not_covered": [run for run in runs if "reason" in run],
        "assumptions": list(dict.fromkeys(said for run in groups for said in run["assumed"])),
    }


def compare_run(folder: Path, engine: str = "vllm", strict: bool = True) -> dict[str, Any]:
    """Return one run's line of ``groups``; with ``reason`` instead of figures where it cannot be simulated.

    A file that cannot be read is an InputError if ``strict``, else a reason, too.
    """
    try:
        run = read_run(folder)
    except InputError as problem:
        if strict and not isinstance(problem, NotCovered):
            raise
        return {"run": folder.name, "reason": str(problem)}
    try:
        prediction = predict(replace(run.setup, engine=engine), run.workload)
    except InputError as problem:
        return {"run": folder.name, "reason": problem.message}
    return {
        "run": folder.name,
        "hardware": run.setup.hardware,
        "model": run.setup.model,
        "tensor_parallel": run.setup.tensor_parallel,
        "replicas": run.setup.replicas,
        "assumed": list(run.assumed),
        "requests": len(run.workload),
        "kv_blocks": prediction.kinds[0]["kv_blocks"],
        "preemptions": prediction.preemptions,
    } | compare({name: (getattr(prediction, name), getattr(run, name)) for name in METRICS})
