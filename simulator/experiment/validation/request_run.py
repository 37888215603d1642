"""A recorded run of a real engine: a folder with ``meta.json`` (settings) and ``requests.jsonl`` (a line a request)."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core import PS_PER_S, InputError
from simulator.experiment.validation.known_engines import engine_named
from simulator.experiment.validation.known_names import checkpoint_named, hardware_named
from simulator.experiment.validation.setup import Setup
from simulator.model.registry import load_model
from simulator.model.shape import Attention, Experts
from simulator.workload.readers.records import RecordTable, parse_records, to_table
from simulator.workload.readers.source import open_text
from simulator.workload.readers.table import positive, reject
from simulator.workload.table import Workload

Float = NDArray[np.float64]
_COLUMNS = ("input_toks", "output_toks", "arrival_time", "queued_ts", "first_token_ts", "last_token_ts")

_REPLICAS = "Data-parallel replicas are engines of their own behind a router by requests in flight."
# So vLLM's documentation of data-parallel deployment has it: groups synchronise in every forward pass.
_IN_STEP = (
    "Data-parallel groups of a model with experts share these and run in step: one instance over all their GPUs stands "
    "for them, its attention split by heads instead of by requests."
)


@dataclass(frozen=True)
class RequestRun:
    """A run's setup, its requests in order of arrival, and their measured latencies in ms (NaN where undefined).

    ``assumed`` says what the setup takes for granted.
    """

    name: str
    setup: Setup
    assumed: tuple[str, ...]
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
    setup, assumed = _setup(meta, folder)
    return RequestRun(
        folder.name,
        setup,
        assumed,
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


def _setup(meta: dict[str, Any], folder: Path) -> tuple[Setup, tuple[str, ...]]:
    where = str(folder / "meta.json")
    asked, cache, hardware = (_section(meta, key) for key in ("engine_kwargs", "kv_cache", "hardware"))
    # What was asked for comes first, then what vLLM made of it.
    resolved = _section(meta, "resolved_config")
    parallel, scheduling = (_section(resolved, f"{key}_config") for key in ("parallel", "scheduler"))
    model = meta.get("model") or asked.get("model")
    if not model:
        raise InputError("no 'model'", where=where)
    name, quantization = checkpoint_named(str(model), str(asked.get("quantization") or ""))

    def count(key: str, *sections: dict[str, Any]) -> int | None:
        return _count(key, _first(*(section.get(key) for section in sections)), where)

    served_by = engine_named("vllm", str(meta.get("vllm_version") or ""))
    blocks = count("num_gpu_blocks", cache)
    kv_dtype = str(asked.get("kv_cache_dtype") or "auto")
    setup = Setup(
        hardware_named(str(hardware.get("device_name") or folder.name)),
        name,
        version=served_by.version,
        # The recorder hands requests to the engine in its own process.
        server=False,
        asynchronous=scheduling.get("async_scheduling"),
        replicas=count("data_parallel_size", asked, parallel) or 1,
        tensor_parallel=count("tensor_parallel_size", asked, parallel) or 1,
        pipeline_parallel=count("pipeline_parallel_size", asked, parallel) or 1,
        expert_parallel=bool(_first(asked.get("enable_expert_parallel"), parallel.get("enable_expert_parallel"))),
        quantization=quantization,
        kv_cache_dtype="fp8" if kv_dtype.startswith("fp8") else None,
        max_num_seqs=count("max_num_seqs", asked, scheduling),
        max_num_batched_tokens=count("max_num_batched_tokens", asked, scheduling),
        max_model_len=count("max_model_len", asked, _section(resolved, "model_config")),
        # vLLM counts its null block, which holds no request's tokens.
        kv_blocks=blocks - 1 if blocks else None,
        block_size=count("block_size", cache),
        gpu_memory_utilization=cache.get("gpu_memory_utilization") or asked.get("gpu_memory_utilization"),
        prefix_caching=_first(cache.get("enable_prefix_caching"), asked.get("enable_prefix_caching")),
    )
    assumed = (served_by.stand_in,) if served_by.stand_in else ()
    if setup.replicas == 1:
        return setup, assumed
    if not _shares_experts(setup):
        return setup, (*assumed, _REPLICAS)
    return _in_step(setup), (*assumed, _IN_STEP)


def _shares_experts(setup: Setup) -> bool:
    """Tell whether data-parallel groups spread experts over all GPUs, and attention could be split by heads as well."""
    model, gpus = load_model(setup.model), setup.replicas * setup.tensor_parallel
    if not any(isinstance(kind.mlp, Experts) for kind in model.kinds):
        return False
    return all(isinstance(kind.attention, Attention) and kind.attention.kv_heads % gpus == 0 for kind in model.kinds)


def _in_step(setup: Setup) -> Setup:
    """Return one instance over the GPUs of all data-parallel groups, with the limits and the memory of all of them."""

    def all_of(each: int | None) -> int | None:
        return None if each is None else each * setup.replicas

    return replace(
        setup,
        replicas=1,
        tensor_parallel=setup.tensor_parallel * setup.replicas,
        max_num_seqs=all_of(setup.max_num_seqs),
        max_num_batched_tokens=all_of(setup.max_num_batched_tokens),
        kv_blocks=all_of(setup.kv_blocks),
    )


def _count(key: str, value: Any, where: str) -> int | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (number >= 0 and number.is_integer()):
        raise InputError(f"{key} is {value!r}, not a whole number", where=where)
    return int(number)


def _section(tree: dict[str, Any], key: str) -> dict[str, Any]:
    part = tree.get(key)
    return part if isinstance(part, dict) else {}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
