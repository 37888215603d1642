"""A user's own benchmark results beside an experiment's simulation of the same requests."""

from pathlib import Path
from typing import Any

from simulator.core import InputError
from simulator.experiment.load import LoadedExperiment
from simulator.experiment.validation.predict import predict_experiment
from simulator.experiment.validation.scores import compare, worst_mean
from simulator.workload.readers.benchmark_results import read_benchmark

METRICS = ("ttft", "tpot", "e2el")


def validate_results(path: Path, loaded: LoadedExperiment) -> dict[str, Any]:
    """Send a result file's requests to an experiment's cluster and compare latencies; the rest as ``requests``.

    The experiment's own workload is not used. A closed loop is repeated as one, other requests are sent at the times
    recorded, or at the rate recorded where times were not. Experiments with several runs are refused.
    """
    if len(loaded.runs) != 1:
        raise InputError(f"the experiment has {len(loaded.runs)} runs, and a result file is one system's",
                         where=loaded.source.where(), hint="leave out 'compare' and 'sweep'")  # fmt: skip
    config, groups = loaded.runs[0].config, []
    for run in read_benchmark(path):
        prediction = predict_experiment(config, run.workload(config.seed))
        figures = compare({name: (getattr(prediction, name), getattr(run, name)) for name in METRICS})
        sending = f"closed loop of {run.concurrency}" if run.concurrency else "times as recorded"
        if run.concurrency is None and run.sent_s is None:
            sending = f"{run.rate:g}/s"
        groups.append({"run": run.name, "requests": len(run.prompt), "sent": sending} | figures)
    return {"overall": worst_mean(groups), "groups": groups, "not_covered": [], "assumptions": []}
