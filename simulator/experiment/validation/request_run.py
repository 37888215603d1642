"""A recorded run of a real engine: a folder with ``meta.json`` (settings) and ``requests.jsonl`` (a line a request)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core import PS_PER_S, InputError
from simulator.experiment.validation.known_names import checkpoint_named, hardware_named
from simulator.experiment.validation.setup import Setup
from simulator.workload.readers.records import RecordTable, parse_records, to_table
from simulator.workload.readers.source import open_text
from simulator.workload.readers.table import positive, reject
from simulator.workload.table import Workload

Float = NDArray[np.float64]
_COLUMNS = ("input_toks", "output_toks", "arrival_time", "queued_ts", "first_token_ts", "last_token_ts")


@dataclass(frozen=True)
class RequestRun:
    """A run's setup, its requests in order of arrival, and their measured latencies in ms (NaN where undefined)."""

    name: str
    setup: Setup
    workload: Workload
    ttft: Float
    tpot: Float
    e2el: Float


def run_folders(folder: Path) -> list[Path]:
    """Return the folders of recorded runs: ``folder`` itself, or those in it; InputError where there is none."""
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder))
    found = [folder] if (folder / "requests.jsonl").exists() else []
    found = found or sorted(path.parent for path in folder.glob("*/requests.jsonl"))
    if not found:
        raise InputError("no recorded runs here", where=str(folder), hint="a run is a folder with requests.jsonl")
    return found


def read_run(folder: Path) -> RequestRun:
    """Return the run recorded in a folder; InputError says what is wrong with it, NotCovered what is not known."""
    meta = _read_meta(folder / "meta.json")
    path = folder / "requests.jsonl"
    table = to_table(path, *parse_records(path, open_text(path)))
    if missing := [column for column in _COLUMNS if column not in table.names]:
        raise InputError(f"requests have no '{missing[0]}'", where=f"{path}:1", hint=f"needs {', '.join(_COLUMNS)}")
    prompt = positive(table.integers("input_toks"), "input_toks", table.where)
    output = positive(table.integers("output_toks"), "output_toks", table.where)
    arrival = _arrivals(table)
    first, last = table.numbers("first_token_ts"), table.numbers("last_token_ts")
    # Written so that a NaN is refused, too.
    reject(~((arrival <= first) & (first <= last)), table.where, lambda row: "times are not in order")
    order = np.argsort(arrival, kind="stable")
    workload = Workload(
        folder.name,
        f"arrivals and lengths of {folder.name}",
        np.rint((arrival[order] - arrival[order[0]]) * PS_PER_S).astype(np.int64),
        prompt[order],
        output[order],
    )
    further = np.where(output > 1, output - 1, np.nan)
    return RequestRun(
        folder.name,
        _setup(meta, folder),
        workload,
        ((first - arrival) * 1e3)[order],
        ((last - first) / further * 1e3)[order],
        ((last - arrival) * 1e3)[order],
    )


def _arrivals(table: RecordTable) -> Float:
    """Return when requests arrived on the clock of the other stamps.

    Arrivals are wall time, the rest is monotonic: the request that was queued soonest after its arrival tells how far
    the clocks are apart. (Engines queue between iterations, so others waited.)
    """
    arrival, queued = table.numbers("arrival_time"), table.numbers("queued_ts")
    reject(~(np.isfinite(arrival) & np.isfinite(queued)), table.where, lambda row: "a time is not finite")
    times: Float = arrival + (queued - arrival).min()
    return times


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the run's settings: {error}", where=str(path)) from None
    if not isinstance(meta, dict):
        raise InputError("not a JSON object", where=str(path))
    return meta


def _setup(meta: dict[str, Any], folder: Path) -> Setup:
    engine, cache, hardware = (_section(meta, key) for key in ("engine_kwargs", "kv_cache", "hardware"))
    resolved = _section(meta, "resolved_config")
    model = meta.get("model") or engine.get("model")
    if not model:
        raise InputError("no 'model'", where=str(folder / "meta.json"))
    name, quantization = checkpoint_named(str(model), str(engine.get("quantization") or ""))
    profile = hardware_named(str(hardware.get("device_name") or folder.name))
    blocks = cache.get("num_gpu_blocks")
    kv_dtype = str(engine.get("kv_cache_dtype") or "auto")
    return Setup(
        profile,
        name,
        version=meta.get("vllm_version"),
        # The recorder hands requests to the engine in its own process.
        server=False,
        asynchronous=_section(resolved, "scheduler_config").get("async_scheduling"),
        replicas=engine.get("data_parallel_size") or 1,
        tensor_parallel=engine.get("tensor_parallel_size") or 1,
        pipeline_parallel=engine.get("pipeline_parallel_size") or 1,
        expert_parallel=bool(engine.get("enable_expert_parallel")),
        quantization=quantization,
        kv_cache_dtype="fp8" if kv_dtype.startswith("fp8") else None,
        max_num_seqs=engine.get("max_num_seqs"),
        max_num_batched_tokens=engine.get("max_num_batched_tokens"),
        max_model_len=engine.get("max_model_len"),
        # vLLM counts its null block, which holds no request's tokens.
        kv_blocks=blocks - 1 if blocks else None,
        block_size=cache.get("block_size"),
        gpu_memory_utilization=cache.get("gpu_memory_utilization") or engine.get("gpu_memory_utilization"),
        prefix_caching=_first(cache.get("enable_prefix_caching"), engine.get("enable_prefix_caching")),
    )


def _section(tree: dict[str, Any], key: str) -> dict[str, Any]:
    part = tree.get(key)
    return part if isinstance(part, dict) else {}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
