"""Makes results folders as a run would leave them, from a crude queue, so that plots have something to show."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.report.browser import started

SLO = {"ttft_ms": 500.0, "tpot_ms": 50.0, "e2el_ms": None}
NO_SLO = {"ttft_ms": None, "tpot_ms": None, "e2el_ms": None}


@dataclass
class Spec:
    """One run to make up: ``slow`` stretches its service times, ``failing`` is the share that fails."""

    name: str
    requests: int = 1500
    rate: float = 12.0
    slow: float = 1.0
    failing: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="session")
def make_results() -> Callable[..., Path]:
    """Return ``make(folder, runs, instances=4, judged=True)``: it writes results of runs given as ``Spec`` is."""
    return make


@pytest.fixture(scope="session")
def three_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three runs of 300 requests over four instances; in ``slow`` a fifth of them fails."""
    runs = [{"name": "fcfs"}, {"name": "skip-join mlfq", "slow": 0.8}, {"name": "slow", "slow": 1.6, "failing": 0.2}]
    return make(tmp_path_factory.mktemp("results") / "three", [{"requests": 300, **run} for run in runs])


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return a headless browser that all tests of a process share: starting one takes a second."""
    with started() as found:
        yield found


@pytest.fixture(scope="session")
def real_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three simulated runs of some 1,000 requests.

    In ``tight`` memory is short, so it preempts; in ``short`` the context is, so some requests fail.
    """
    from simulator.experiment.load import load_experiment
    from simulator.experiment.runner import run_experiment

    folder = tmp_path_factory.mktemp("real")
    (folder / "tight.yaml").write_text(_TIGHT, encoding="utf-8")
    return run_experiment(load_experiment(folder / "tight.yaml"), folder).folder


_TIGHT = """\
name: tight memory
workload: {trace: azure_conv_2023, rate_scale: 4, duration: 60s}
model: llama-3.1-8b
cluster:
  instances: [{count: 2, hardware: h100_sxm, scheduler: vllm}]
  router: least_outstanding
slo: {ttft: 500ms, tpot: 50ms}
compare:
  roomy: {}
  tight: {"cluster.instances[0].kv_blocks": 1100}
  short: {"cluster.instances[0].max_model_len": 4000}
"""


def make(folder: Path, runs: list[dict[str, Any]], instances: int = 4, judged: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return _write(folder, [Spec(**run) for run in runs], instances, SLO if judged else NO_SLO)


def _write(folder: Path, specs: list[Spec], instances: int, slo: dict[str, float | None]) -> Path:
    runs, requests, iterations = [], [], []
    for seed, spec in enumerate(specs):
        rng = np.random.default_rng(seed)
        columns = _requests(rng, spec, instances)
        steps = _iterations(columns, spec, instances)
        requests.append(pa.table({"run": [spec.name] * len(columns["request"]), **columns}, schema=_REQUESTS))
        iterations.append(pa.table({"run": [spec.name] * len(steps["start_s"]), **steps}, schema=_ITERATIONS))
        runs.append(_summary(columns, steps, spec, instances, slo))
    pq.write_table(pa.concat_tables(requests), folder / "requests.parquet")
    pq.write_table(pa.concat_tables(iterations), folder / "iterations.parquet")
    summary = {"schema": 1, "experiment": "made <up> & small", "runs": runs}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    (folder / "config.resolved.yaml").write_text("name: made up  # <b>&\nslo: {ttft: 500ms}\n", encoding="utf-8")
    return folder


_REQUESTS = pa.schema(
    [("run", pa.string()), ("request", pa.int64()), ("client", pa.string()), ("priority", pa.int64())]
    + [("instance", pa.int32())]
    + [(name, pa.float64()) for name in ("arrival_s", "admitted_s", "first_token_s", "finished_s")]
    + [(name, pa.int64()) for name in ("prompt_tokens", "output_tokens", "cached_tokens", "preemptions")]
    + [(name, pa.float64()) for name in ("ttft_ms", "tpot_ms", "e2el_ms")]
    + [("status", pa.string()), ("reason", pa.string())]
)
_COUNTS = ("iterations", "decode_requests", "prefill_requests", "prefill_tokens", "context_tokens", "waiting",
           "kv_blocks_used", "preemptions")  # fmt: skip
_ITERATIONS = pa.schema(
    [("run", pa.string()), ("instance", pa.int32())]
    + [(name, pa.float64()) for name in ("start_s", "first_iteration_s", "growth_s")]
    + [(name, pa.int64()) for name in _COUNTS]
)
KV_BLOCKS = 4000


def _requests(rng: np.random.Generator, spec: Spec, instances: int) -> dict[str, Any]:
    n = spec.requests
    arrival = np.sort(rng.uniform(0, n / spec.rate, n))
    instance = (np.arange(n) % instances).astype(np.int32)
    prompt = np.maximum(1, rng.lognormal(6.5, 0.8, n)).astype(np.int64)
    output = np.maximum(1, rng.lognormal(5.0, 0.7, n)).astype(np.int64)
    prefill = spec.slow * (0.02 + prompt / 9000)
    tpot = spec.slow * rng.normal(0.022, 0.004, n).clip(0.008)
    admitted = np.empty(n)
    for k in range(instances):  # Lindley's recursion: prefill is the bottleneck, decoding is shared.
        rows = np.flatnonzero(instance == k)
        busy = np.cumsum(prefill[rows])
        admitted[rows] = np.maximum.accumulate(arrival[rows] - (busy - prefill[rows])) + busy - prefill[rows]
    first = admitted + prefill
    finished = first + tpot * (output - 1)
    failed = rng.random(n) < spec.failing
    late = np.where(failed, np.nan, 1.0)
    return {
        "request": np.arange(n),
        "client": [None] * n,
        "priority": np.zeros(n, np.int64),
        "instance": np.where(failed, -1, instance).astype(np.int32),
        "arrival_s": arrival,
        "admitted_s": _null(admitted * late),
        "first_token_s": _null(first * late),
        "finished_s": _null(finished * late),
        "prompt_tokens": prompt,
        "output_tokens": output,
        "cached_tokens": np.zeros(n, np.int64),
        "preemptions": np.zeros(n, np.int64),
        "ttft_ms": _null((first - arrival) * 1e3 * late),
        "tpot_ms": _null(np.where(output > 1, tpot * 1e3 * late, np.nan)),
        "e2el_ms": _null((finished - arrival) * 1e3 * late),
        "status": np.where(failed, "failed", "completed").tolist(),
        "reason": ["too large for the KV cache" if f else None for f in failed],
    }


def _null(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.float64(), mask=np.isnan(values))


def _iterations(columns: dict[str, Any], spec: Spec, instances: int) -> dict[str, np.ndarray]:
    """Cut each instance's life at every admission, first token and finish: its batch is constant between."""
    pieces: list[dict[str, np.ndarray]] = []
    arrival = columns["arrival_s"]
    admitted, first, finished = (
        columns[name].to_numpy(zero_copy_only=False) for name in ("admitted_s", "first_token_s", "finished_s")
    )
    for k in range(instances):
        mine = columns["instance"] == k
        if not mine.any():
            continue
        cuts = np.unique(np.concatenate([admitted[mine], first[mine], finished[mine]]))

        def count(times: np.ndarray, mine: np.ndarray = mine, cuts: np.ndarray = cuts) -> np.ndarray:
            return np.searchsorted(np.sort(times[mine]), cuts[:-1], side="right")

        decode = count(first) - count(finished)
        prefill = count(admitted) - count(first)
        waiting = count(arrival) - count(admitted)
        steps = np.maximum(1, (np.diff(cuts) / (0.022 * spec.slow)).astype(np.int64))
        used = np.minimum(KV_BLOCKS, 160 * (decode + prefill))
        keep = decode + prefill > 0
        piece = {
            "instance": np.full(len(steps), k, np.int32),
            "start_s": cuts[:-1],
            "first_iteration_s": np.diff(cuts) / steps,
            "growth_s": np.zeros(len(steps)),
            "iterations": steps,
            "decode_requests": decode,
            "prefill_requests": prefill,
            "prefill_tokens": prefill * 512,
            "context_tokens": used * 16,
            "waiting": waiting,
            "kv_blocks_used": used,
            "preemptions": (used == KV_BLOCKS).astype(np.int64),
        }
        pieces.append({name: values[keep] for name, values in piece.items()})
    if not pieces:
        return {name: np.array([], np.float64 if name.endswith("_s") else np.int64) for name in _ITERATIONS.names[1:]}
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _summary(
    columns: dict[str, Any], steps: dict[str, np.ndarray], spec: Spec, instances: int, slo: dict[str, float | None]
) -> dict[str, Any]:
    done = np.array(columns["status"]) == "completed"
    finished = columns["finished_s"].to_numpy(zero_copy_only=False)
    duration = float(np.nanmax(finished)) if done.any() else float(columns["arrival_s"][-1])
    metrics: dict[str, float | None] = {
        "completed": int(done.sum()),
        "failed": int((~done).sum()),
        "duration_s": duration,
        "request_throughput": done.sum() / duration,
        "output_throughput": float(columns["output_tokens"][done].sum() / duration),
        "preemptions": int(steps["preemptions"].sum()),
        "kv_transfers": 0,
        "migrations": 0,
        "gpu_hours": instances * duration / 3600,
    }
    met = done.copy()
    for key in ("ttft", "tpot", "itl", "e2el"):
        values = columns[f"{'tpot' if key == 'itl' else key}_ms"].to_numpy(zero_copy_only=False)
        known = values[~np.isnan(values)]
        metrics[f"mean_{key}_ms"] = float(known.mean()) if len(known) else None
        for name, q in (("median", 50), ("p90", 90), ("p95", 95), ("p99", 99)):
            metrics[f"{name}_{key}_ms"] = float(np.percentile(known, q)) if len(known) else None
        limit = slo.get(f"{key}_ms")
        if limit is not None:
            met &= ~(values > limit)
    judged = any(limit is not None for limit in slo.values())
    metrics["request_goodput"] = met.sum() / duration if judged else None
    metrics["slo_attainment"] = met.mean() if judged else None
    kind = {"name": "decode", "count": instances, "hardware": "h100_sxm", "tensor_parallel": 1, "scheduler": "vllm",
            "kv_blocks": KV_BLOCKS, "block_size": 16}  # fmt: skip
    return {
        "name": spec.name,
        "metrics": {key: None if value is None else float(value) for key, value in metrics.items()},
        "slo": slo,
        "offered_rate": spec.rate,
        "cluster": {"instances": instances, "gpus": instances, "router": "round_robin", "kinds": [kind]},
        "coverage": {"measured": 0.92, "roofline": 0.08, "notes": ["host overhead of vLLM 0.9 assumed <b>"]},
        "timing": {"wall_s": 0.1, "cpu_s": 0.1},
        **spec.extra,
    }
