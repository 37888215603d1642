"""Run an experiment: build each run's workload and cluster, simulate, write what came out."""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from simulator.cluster.cluster import Cluster
from simulator.core import InputError, Streams
from simulator.engine.ledger import Ledger
from simulator.experiment.assemble import Assembly, assemble
from simulator.experiment.costs import bill
from simulator.experiment.load import LoadedExperiment, Variant
from simulator.experiment.metrics import RequestTable, count_moves, summarize, summarize_models
from simulator.experiment.results import ResultsFolder, optional_columns
from simulator.experiment.schema import ClusterSpec, Slo
from simulator.experiment.techniques.stack import workload_of
from simulator.workload.table import Workload

SCHEMA = 1


@dataclass(frozen=True)
class ProgressEvent:
    """How far run ``index`` (from 0) of ``count`` is: simulated seconds, requests ended and requests in all."""

    run: str
    index: int
    count: int
    simulated_s: float
    done: int
    total: int


class ExperimentResult(NamedTuple):
    """What an experiment gave: the content of ``summary.json``, its folder, and whether it was cut short."""

    summary: dict[str, Any]
    folder: Path
    interrupted: bool


Listener = Callable[[ProgressEvent], None]


def run_experiment(
    loaded: LoadedExperiment, out: Path, *, exact_steps: bool = False, progress: Listener | None = None
) -> ExperimentResult:
    """Simulate all runs of an experiment and write ``out/<name>/``.

    On KeyboardInterrupt, what has finished by then is written and the result says so. InputError where the parts of the
    configuration do not fit together; OSError where the folder cannot be written.
    """
    summaries: list[dict[str, Any]] = []
    interrupted = False
    workloads = _Workloads(loaded)
    # All runs are put together before the first one starts: the last one's mistake should not cost an hour.
    columns: set[str] = set()
    only: Assembly | None = None
    for variant in loaded.runs:
        workload = workloads.get(variant)
        assembly = assemble(variant.config, workload)
        columns |= optional_columns(workload, assembly.models)
        only = assembly if len(loaded.runs) == 1 else None  # of several, memory holds the one that runs
    with ResultsFolder(out / loaded.name, columns=columns) as results:
        results.write_text("config.resolved.yaml", loaded.resolved())
        for index, variant in enumerate(loaded.runs):
            workload = workloads.get(variant)
            report = _report(progress, variant.name, index, len(loaded.runs), len(workload))
            assembled = only or assemble(variant.config, workload)
            summary, interrupted = _run(variant, workload, assembled, results, exact_steps, report)
            summaries.append(summary)
            results.write_summary(_summary(loaded, summaries))
            if interrupted:
                break
    return ExperimentResult(_summary(loaded, summaries), out / loaded.name, interrupted)


def _run(
    variant: Variant,
    workload: Workload,
    assembly: Assembly,
    results: ResultsFolder,
    exact_steps: bool,
    report: Callable[[float, int], None] | None,
) -> tuple[dict[str, Any], bool]:
    config = variant.config
    rng = Streams(config.seed).get("router")
    cluster = Cluster(assembly.servers, assembly.router, workload, rng, exact_steps=exact_steps, progress=report)
    wall, cpu, interrupted = time.perf_counter(), time.process_time(), False
    try:
        cluster.run()
    except KeyboardInterrupt:
        interrupted = True
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if report is not None:
        report(cluster.now_s, cluster.ended)
    table = RequestTable.of(cluster.requests)
    ledgers = [server.core.ledger for server in assembly.servers]
    results.add_requests(variant.name, table, workload, assembly.models)
    results.add_iterations(variant.name, ledgers)
    results.add_spans(variant.name, ledgers)
    results.add_moves(variant.name, cluster.moves)
    metrics = summarize(table, ledgers, config.slo, assembly.gpus)
    answers = table.answers()
    tokens = int(answers.output_tokens[answers.completed].sum())
    metrics |= count_moves(cluster.moves)
    up = _up_seconds(cluster, table, config.cluster)
    if up is not None:
        pairs = zip(assembly.meters, up, strict=True)
        metrics["gpu_hours"] = sum(meter.gpus * seconds for meter, seconds in pairs) / 3600
    metrics |= bill(assembly.meters, ledgers, metrics["duration_s"], tokens, up)
    summary = {
        "name": variant.name,
        "variant": variant.variant,
        "sweep": variant.sweep,
        "metrics": metrics,
        **({"by_model": _by_model(table, assembly, ledgers, config.slo)} if assembly.models else {}),
        "slo": _slo_ms(config.slo),
        "offered_rate": _offered_rate(workload),
        "workload": {"name": workload.name, "requests": len(workload), "source": workload.source},
        "cluster": _describe(config.cluster.router.name, assembly),
        "coverage": assembly.coverage(int((workload.prompt_tokens + workload.output_tokens).max())),
        "timing": {
            "wall_s": wall,
            "cpu_s": cpu,
            "requests_per_cpu_s": len(cluster.requests) / cpu if cpu > 0 else None,
            "events": cluster.events,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        },
    }
    if interrupted:
        summary["interrupted"] = True
    return summary, interrupted


def _up_seconds(cluster: Cluster, table: RequestTable, spec: ClusterSpec) -> list[float] | None:
    """Return how long each instance was up; None where all always are."""
    if spec.faults is None and spec.autoscaling is None and spec.spot is None:
        return None
    from simulator.experiment.fleets import up_seconds

    return up_seconds(cluster, table)


def _by_model(table: RequestTable, assembly: Assembly, ledgers: Sequence[Ledger], slo: Slo) -> dict[str, Any]:
    each = [kind["model"] for kind in assembly.kinds for _ in range(kind["count"])]
    by_model: dict[str, list[Ledger]] = {}
    for model, ledger in zip(each, ledgers, strict=True):
        by_model.setdefault(model, []).append(ledger)
    return summarize_models(table, assembly.models, by_model, slo)


class _Workloads:
    """Builds each different workload once; runs that ask for the same one share it."""

    def __init__(self, loaded: LoadedExperiment) -> None:
        self._folder = loaded.folder
        self._last: tuple[Any, Workload] | None = None

    def get(self, variant: Variant) -> Workload:
        key = (variant.config.workload, variant.config.seed, variant.config.techniques)
        if self._last is None or self._last[0] != key:
            workload = workload_of(variant.config, self._folder)
            if not len(workload):
                raise InputError("the workload has no requests", where="workload")
            self._last = (key, workload)
        return self._last[1]


def _report(
    progress: Listener | None, run: str, index: int, count: int, total: int
) -> Callable[[float, int], None] | None:
    if progress is None:
        return None
    return lambda simulated_s, done: progress(ProgressEvent(run, index, count, simulated_s, done, total))


def _summary(loaded: LoadedExperiment, runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"schema": SCHEMA, "experiment": loaded.name, "runs": runs}


def _slo_ms(slo: Slo) -> dict[str, float | None]:
    return {f"{name}_ms": None if limit is None else limit * 1e3 for name, limit in slo.model_copy()}


def _offered_rate(workload: Workload) -> float | None:
    """Return requests per second over the time in which they arrive; None where clients wait for their answers."""
    arrival = workload.arrival_ps
    if workload.follow_ups is not None:
        arrival = arrival[workload.follow_ups.after < 0]
    if workload.closed_loop is not None or len(arrival) < 2:
        return None
    span = int(arrival[-1] - arrival[0])
    return (len(arrival) - 1) / (span / 1e12) if span else None


def _describe(router: str, assembly: Assembly) -> dict[str, Any]:
    return {
        "instances": len(assembly.servers),
        "gpus": assembly.gpus,
        "router": router,
        "kinds": assembly.kinds,
    }
