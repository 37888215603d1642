"""Measured runs at constant request rates, prompts from a small pool, beside simulated ones."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core import InputError, Streams, to_ps
from simulator.experiment.validation.known_names import checkpoint_named, default_sampling, hardware_named
from simulator.experiment.validation.measured_csv import Row, read_rows
from simulator.experiment.validation.predict import Prediction, predict
from simulator.experiment.validation.scores import bias, error, grouped, mape, spread_of
from simulator.experiment.validation.setup import Setup
from simulator.experiment.validation.workers import Listener, on_all
from simulator.workload.generators.prompt_pool import PromptPool
from simulator.workload.table import Workload

ASSUMPTIONS = (
    "Prompts are the pool's, sent in turn in one shuffled order, and all as long as the mean prompt; a repeated prompt "
    "is found in the prefix cache but for its last block, so 1 to 16 tokens are computed.",
    "The conversations of 'multi_turn' runs do not grow: the measured prompts are as long as system prompt and "
    "question alone.",
    "All outputs are as long as the mean output.",
    "Tokens are chosen as each model's generation_config.json says: Llama 2 samples by top-p, the others do not.",
    "The stages of a run follow one another on one engine, with a pause in which it drains.",
    "Where requests failed, the first ones that were sent are those that completed.",
)
REQUIRED = ("run", "stage", "system", "model", "tp", "request_rate", "requests", "completed", "output_tokens",
             "ttft_mean_ms", "ttft_p50_ms", "ttft_p90_ms", "ttft_p99_ms", "e2e_mean_ms", "tpot_mean_ms")  # fmt: skip
_COLUMNS = [f"{metric}_{at}" for metric in ("ttft", "e2e") for at in ("mean", "p50", "p90", "p99")] + ["tpot_mean"]
_PAUSE_S = 60.0


def validate_open_loop(
    path: Path, *, seed: int = 0, workers: int | None = 1, progress: Listener | None = None
) -> dict[str, Any]:
    """Simulate every run of a CSV of open-loop measurements, its stages in a row, and compare latencies.

    ``overall`` has ``points`` (stages that kept up) and for each of their statistics ``<name>_mape`` and ``_bias``
    (``ttft_p50_mape``, ...; fractions), and for the ``overloaded`` stages, where requests failed, ``growth_mape``: the
    error of the rate at which the queue grows. ``groups`` has one entry a stage, ``not_covered`` those not simulated.
    """
    runs = read_runs(path)
    lines = on_all(partial(_compare, seed=seed), runs, workers=workers, progress=progress)
    groups = [line for run in lines for line in run]
    kept_up = [line for line in groups if "errors" in line]
    overloaded = [line for line in groups if "growth_error" in line]
    missed = [line for line in groups if "reason" in line]
    overall: dict[str, Any] = {"points": len(kept_up), "overloaded": len(overloaded), "not_covered": len(missed)}
    for name in _COLUMNS:
        errors = [line["errors"][name] for line in kept_up if name in line["errors"]]
        overall |= {f"{name}_mape": mape(errors), f"{name}_bias": bias(errors)}
    overall["growth_mape"] = mape([line["growth_error"] for line in overloaded])
    covered = [line for line in groups if "reason" not in line]
    return {"overall": overall, "groups": covered, "not_covered": missed, "assumptions": list(ASSUMPTIONS)}


def read_runs(path: Path) -> list[list[Row]]:
    """Return the stages of each run in a CSV file; InputError when there are none."""
    stages = [row for row in read_rows(path, REQUIRED, "stages") if row.text("stage") != "summary"]
    if not stages:
        raise InputError("every row is a summary of stages, no stage is among them", where=str(path))
    return list(grouped(stages, lambda row: row.text("run")).values())


def _compare(stages: Sequence[Row], seed: int) -> list[dict[str, Any]]:
    """Return a line for each stage of one run."""
    workload = workload_of(stages, seed)
    try:
        prediction = predict(setup_of(stages[0]), workload, seed=seed)
    except InputError as problem:
        return [_label(stage) | {"reason": problem.message} for stage in stages]
    lines, first = [], 0
    for stage in stages:
        count = requests_in(stage)
        lines.append(_label(stage) | _errors(stage, prediction, slice(first, first + count)))
        first += count
    return lines


def _errors(stage: Row, prediction: Prediction, rows: slice) -> dict[str, Any]:
    if overloaded(stage):
        completed = stage.count("completed") or 1
        rows = slice(rows.start, rows.start + completed)
        measured = _growth(stage, stage.latency("ttft_p50_ms"), completed)
        predicted = _growth(stage, float(np.median(prediction.ttft[rows])), completed)
        return {
            "measured_growth": measured,
            "predicted_growth": predicted,
            "growth_error": error(predicted, measured),
        }
    columns = {"ttft": prediction.ttft, "e2e": prediction.e2el, "tpot": prediction.tpot}
    spreads = {metric: spread_of(column[rows]) or {} for metric, column in columns.items()}
    predictions, measurements = {}, {}
    for name in _COLUMNS:
        metric, at = name.split("_")
        if (value := stage.number(f"{name}_ms")) is not None and at in spreads[metric]:
            measurements[name], predictions[name] = value, spreads[metric][at]
    errors = {name: error(predictions[name], measurements[name]) for name in predictions}
    return {"errors": errors, "measured_ms": measurements, "predicted_ms": predictions}


def _growth(stage: Row, ttft_p50: float, completed: int) -> float:
    """Return by how many requests a second the queue grows.

    The n-th request is sent at n / rate and begins at n / service rate: the median wait is that of the middle one.
    """
    rate = stage.latency("request_rate")
    return rate - 1 / (ttft_p50 * 1e-3 / (completed / 2) + 1 / rate)


def setup_of(row: Row) -> Setup:
    """Return what a stage was measured on; InputError where it is not known or not modelled."""
    model, quantization = checkpoint_named(row.text("model"))
    return Setup(
        hardware_named(row.text("system")),
        model,
        engine=row.text("engine").lower() or "vllm",
        version=row.text("engine_version") or None,
        tensor_parallel=row.count("tp") or 1,
        quantization=quantization,
        max_num_seqs=row.count("max_num_seqs"),
        max_num_batched_tokens=row.count("max_num_batched_tokens"),
        max_model_len=row.count("max_model_len"),
        sampling=default_sampling(model) if (row.text("engine").lower() or "vllm") == "vllm" else None,
    )


def workload_of(stages: Sequence[Row], seed: int) -> Workload:
    """Return the requests of a run's stages, one stage after another."""
    row, counts, starts, clock = stages[0], [requests_in(stage) for stage in stages], [], 0.0
    for stage, count in zip(stages, counts, strict=True):
        starts.append(clock + np.arange(count) / stage.latency("request_rate"))
        clock = float(starts[-1][-1]) + _PAUSE_S
    system = row.count("system_prompt_tokens") or 0
    prompt = round(row.number("measured_prompt_tokens_mean") or system + (row.count("question_tokens") or 1))
    pool = PromptPool(row.count("num_system_prompts") or 1, row.count("users_per_system_prompt") or 1, system, prompt)
    outputs = [round(stage.number("measured_output_tokens_mean") or stage.latency("output_tokens")) for stage in stages]
    arrival = np.array([to_ps(second) for second in np.concatenate(starts).tolist()], np.int64)
    return Workload(
        row.text("run"),
        "constant rates, prompts from a pool",
        arrival,
        np.full(len(arrival), prompt, np.int64),
        np.repeat(np.array(outputs, np.int64), counts),
        prefix=pool.prefixes(len(arrival), Streams(seed).get("prompts")),
    )


def overloaded(stage: Row) -> bool:
    """Tell whether requests of a stage failed because the queue grew to its end."""
    return (stage.count("completed") or 0) < requests_in(stage)


def requests_in(stage: Row) -> int:
    """Return how many requests a stage sent; InputError where that is not recorded."""
    count = stage.count("requests")
    if not count:
        raise InputError("requests is missing or 0", where=stage.where)
    return count


def _label(stage: Row) -> dict[str, Any]:
    return {
        "run": stage.text("run"),
        "stage": stage.text("stage"),
        "system": stage.text("system"),
        "model": stage.text("model"),
        "tp": stage.count("tp"),
        "request_rate": stage.number("request_rate"),
    }
