"""Measured runs at constant request rates, prompts from a small pool, beside simulated ones."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core import InputError
from simulator.experiment.validation.measured_csv import Row, read_rows
from simulator.experiment.validation.open_loop_stage import engine_of, setup_of, workload_of
from simulator.experiment.validation.predict import Prediction, predict
from simulator.experiment.validation.scores import bias, error, grouped, mape, spread_of
from simulator.experiment.validation.workers import Listener, on_all

ASSUMPTIONS = (
    "Prompts are the pool's, sent in turn in one shuffled order, and all as long as the mean prompt; a repeated prompt "
    "is found in the prefix cache but for its last block, so 1 to 16 tokens are computed. Without a pool all prompts "
    "differ.",
    "Requests come evenly, where 'arrivals' says poisson at random.",
    "The conversations of 'multi_turn' runs do not grow: the measured prompts are as long as system prompt and "
    "question alone.",
    "All outputs are as long as was asked for, and the time a token takes is that over these tokens: the client counts "
    "tokens of the text, tokenized again. By its count CodeLlama 34B makes more than was asked for, and Llama 2 7B a "
    "fifth less, though its latencies differ by a few percent alone, as those of outputs of one length do.",
    "Tokens are chosen as each model's generation_config.json says: Llama 2 by top-p, the others from all tokens.",
    "The stages of a run follow one another on one engine, with a pause in which it drains.",
    "Where requests failed, the first ones that were sent are those that completed.",
)
REQUIRED = ("run", "stage", "system", "model", "tp", "request_rate", "requests", "completed", "output_tokens",
             "ttft_mean_ms", "ttft_p50_ms", "ttft_p90_ms", "ttft_p99_ms", "e2e_mean_ms")  # fmt: skip
_COLUMNS = [f"{metric}_{at}" for metric in ("ttft", "e2e") for at in ("mean", "p50", "p90", "p99")] + ["tpot_mean"]


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
    stand_ins = [line["stand_in"] for line in covered if "stand_in" in line]
    assumptions = [*ASSUMPTIONS, *dict.fromkeys(stand_ins)]
    return {"overall": overall, "groups": covered, "not_covered": missed, "assumptions": assumptions}


def read_runs(path: Path) -> list[list[Row]]:
    """Return the stages of each run in a CSV file; InputError when there are none."""
    stages = [row for row in read_rows(path, REQUIRED, "stages") if row.text("stage") != "summary"]
    if not stages:
        raise InputError("every row is a summary of stages, no stage is among them", where=str(path))
    return list(grouped(stages, lambda row: row.text("run")).values())


def _compare(stages: Sequence[Row], seed: int) -> list[dict[str, Any]]:
    """Return a line for each stage of one run."""
    try:
        served_by = engine_of(stages[0])
        prediction = predict(setup_of(stages[0]), workload_of(stages, seed), seed=seed)
        lines, first = [], 0
        for stage in stages:
            count = stage.size("requests")
            lines.append(_label(stage) | _errors(stage, prediction, slice(first, first + count)))
            first += count
    except InputError as problem:
        return [_names(stage) | {"where": stage.where, "reason": problem.message} for stage in stages]
    return [line | ({"stand_in": served_by.stand_in} if served_by.stand_in else {}) for line in lines]


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
        value = tpot_of(stage) if metric == "tpot" else stage.number(f"{name}_ms")
        if value is not None and at in spreads[metric]:
            measurements[name], predictions[name] = value, spreads[metric][at]
    errors = {name: error(predictions[name], measurements[name]) for name in predictions}
    return {"errors": errors, "measured_ms": measurements, "predicted_ms": predictions}


def tpot_of(stage: Row) -> float:
    """Return the measured mean TPOT in ms, over the tokens that were asked for; InputError where there is none."""
    decoding = stage.latency("e2e_mean_ms") - stage.latency("ttft_mean_ms")
    if decoding <= 0:
        raise InputError("e2e_mean_ms is not above ttft_mean_ms", where=stage.where, hint="both are means in ms")
    return decoding / max(stage.latency("output_tokens") - 1, 1.0)


def _growth(stage: Row, ttft_p50: float, completed: int) -> float:
    """Return by how many requests a second the queue grows.

    The n-th request is sent at n / rate and begins at n / service rate: the median wait is that of the middle one.
    """
    rate = stage.latency("request_rate")
    return rate - 1 / (ttft_p50 * 1e-3 / (completed / 2) + 1 / rate)


def overloaded(stage: Row) -> bool:
    """Tell whether requests of a stage failed because the queue grew to its end."""
    return (stage.count("completed") or 0) < stage.size("requests")


def _label(stage: Row) -> dict[str, Any]:
    return _names(stage) | {"tp": stage.count("tp"), "request_rate": stage.number("request_rate")}


def _names(stage: Row) -> dict[str, Any]:
    return {name: stage.text(name) for name in ("run", "stage", "system", "model")}
