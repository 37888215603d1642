"""Measured inter-token latencies of saturated engines, at a steady batch, beside simulated ones."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core import PS_PER_MS, InputError
from simulator.engine.ledger import RUN_COLUMNS
from simulator.experiment.validation.known_engines import engine_named
from simulator.experiment.validation.known_names import checkpoint_named, default_sampling, hardware_named
from simulator.experiment.validation.measured_csv import Row, read_rows
from simulator.experiment.validation.predict import Prediction, predict
from simulator.experiment.validation.saturated_client import CHAT, TASKS, SaturatedClient
from simulator.experiment.validation.scores import bias, error, grouped, mape
from simulator.experiment.validation.setup import Setup
from simulator.experiment.validation.workers import Listener, on_all

VERSION, UTILIZATION = "0.11", 0.95
_FIM = TASKS["sourcegraph-fim"].prompt_tokens
ASSUMPTIONS = (
    f"Where the engine's version is not recorded, it is vLLM {VERSION} scheduling asynchronously, as the configuration "
    "files of the benchmark say.",
    "Tokens are drawn as each model's generation_config.json says: gpt-oss from all, the others by top-p. An older "
    "client of the benchmark asks for top-p everywhere, but gpt-oss's gaps have no room for a sort.",
    f"Prompts have {CHAT.prompt_tokens:.0f} tokens on average (code to fill in: {_FIM:.0f}) and outputs of chat vary "
    "as exponential ones do, those of GPQA half as much: so full KV caches say, whose tokens over the requests at once "
    "are the mean context. Only mean outputs are recorded.",
    "A closed loop of the mean batch; only iterations with at least 95 % of it, or all but one, count.",
)
LEAST_SEQUENCES, MOST_SEQUENCES = 8, 768
GROUPS = ("model", "precision", "gpus", "parallelism", "task")
REQUIRED = ("avg_batch_size", "avg_output_len", "gpu_model", "max_num_seqs", "median_itl_ms", "num_gpus", "model_id")
_FULL, _MOSTLY = 0.95, 0.5
_RUN = ("first", "growth", "iterations", "decodes")


def validate_saturated(
    path: Path, *, seed: int = 0, workers: int | None = 1, progress: Listener | None = None
) -> dict[str, Any]:
    """Simulate every row of a CSV of saturated measurements and compare the median inter-token latency.

    Rows of 8 to 768 sequences are compared. ``overall`` and each entry of ``groups`` and ``regions`` have ``points``,
    ``itl_mape`` and ``itl_bias``; ``points`` has every row that was simulated, ``not_covered`` the others with the
    reason.
    """
    rows = read_rows(path, REQUIRED)
    lines = on_all(partial(_compare, seed=seed), rows, workers=workers, progress=progress)
    covered = [line for line in lines if "reason" not in line]
    missed = [line for line in lines if "reason" in line]
    groups = grouped(covered, lambda line: tuple(line[name] for name in GROUPS))
    batches = grouped(covered, lambda line: line["max_num_seqs"])
    return {
        "overall": _scores(covered) | {"not_covered": len(missed)},
        "groups": [dict(zip(GROUPS, key, strict=True)) | _scores(members) for key, members in groups.items()],
        "regions": {"max_num_seqs": [{"max_num_seqs": size} | _scores(batches[size]) for size in sorted(batches)]},
        "points": covered,
        "not_covered": missed,
        "assumptions": list(ASSUMPTIONS),
    }


def counts(row: Row) -> bool:
    """Tell whether a row's batch is among those compared, ``LEAST_SEQUENCES`` to ``MOST_SEQUENCES``."""
    return LEAST_SEQUENCES <= (row.count("max_num_seqs") or 0) <= MOST_SEQUENCES


def _scores(lines: list[dict[str, Any]]) -> dict[str, Any]:
    errors = [line["itl_error"] for line in lines]
    return {"points": len(errors), "itl_mape": mape(errors), "itl_bias": bias(errors)}


def _compare(row: Row, seed: int) -> dict[str, Any]:
    names = {"where": row.where, "model": row.text("model_id"), "task": row.text("task")}
    try:
        label = _label(row)
        if not counts(row):
            return label | {"reason": f"not between {LEAST_SEQUENCES} and {MOST_SEQUENCES} sequences"}
        measured, batch = row.latency("median_itl_ms"), round(row.latency("avg_batch_size"))
        prediction = predict(setup_of(row), client_of(row, batch).workload(seed), seed=seed)
        predicted = steady_itl(prediction, batch)
    except InputError as problem:
        return names | {"reason": problem.message}
    return label | {
        "measured_itl_ms": measured,
        "itl_ms": predicted,
        "itl_error": error(predicted, measured),
    }


def steady_itl(prediction: Prediction, batch: int, quantile: float = 0.5) -> float:
    """Return a quantile of the gaps between tokens while (nearly) the whole batch runs, in ms.

    InputError where memory does not hold it most of the time.
    """
    runs = np.concatenate([ledger.runs() for ledger in prediction.ledgers])
    first, growth, iterations, decodes = (runs[:, RUN_COLUMNS.index(name)] for name in _RUN)
    full = decodes >= min(_FULL * batch, batch - 1)  # one may be prefilled
    tokens = iterations * decodes
    share = tokens[full].sum() / tokens.sum()
    if share < _MOSTLY:
        raise InputError(f"the batch of {batch} is full for {share:.0%} of the tokens: the KV cache does not hold it")
    middle = (first + growth * (iterations - 1) / 2)[full]
    order = np.argsort(middle)
    weight = np.cumsum(tokens[full][order])
    return float(middle[order][np.searchsorted(weight, weight[-1] * quantile)]) / PS_PER_MS


def client_of(row: Row, batch: int) -> SaturatedClient:
    """Return the closed loop that keeps a batch of this many requests."""
    return SaturatedClient(batch, row.latency("avg_output_len"), TASKS.get(row.text("task"), CHAT))


def setup_of(row: Row) -> Setup:
    """Return what a row was measured on; InputError where it is not known or not modelled."""
    model, quantization = checkpoint_named(row.text("model_id"), row.text("weight_precision"))
    replicas = row.count("par_data_parallel") or 1
    if replicas > 1:
        raise InputError("data parallelism: how requests were spread is not recorded")
    return Setup(
        hardware_named(row.text("gpu_model")),
        model,
        version=engine_named("vllm", row.text("engine_version") or VERSION).version,
        asynchronous=None if row.text("engine_version") else True,
        tensor_parallel=row.count("num_gpus") or 1,
        expert_parallel=(row.count("par_expert_parallel") or 1) > 1,
        quantization=quantization,
        max_num_seqs=row.count("max_num_seqs"),
        sampling=default_sampling(model),
        gpu_memory_utilization=UTILIZATION,
    )


def _label(row: Row) -> dict[str, Any]:
    experts = row.count("par_expert_parallel") or 1
    return {
        "where": row.where,
        "model": row.text("model_id"),
        "precision": row.text("weight_precision"),
        "gpus": row.count("num_gpus"),
        "parallelism": f"ep{experts}" if experts > 1 else f"tp{row.count('par_tensor_parallel') or 1}",
        "task": row.text("task"),
        "max_num_seqs": row.count("max_num_seqs") or 0,
        "avg_batch_size": row.number("avg_batch_size"),
    }
