"""A GPU's power curve from serving runs whose mean power and throughput were measured."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.core import InputError
from simulator.experiment.costs import matmul_flops
from simulator.experiment.validation.known_names import checkpoint_named, hardware_named
from simulator.experiment.validation.measured_csv import Row, read_rows
from simulator.hardware.profile import Profile
from simulator.model.registry import load_model

REQUIRED = ("avg_power_watts", "output_throughput_tokens_per_sec", "gpu_model", "num_gpus", "model_id")

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Load:
    """One measured run: watts a GPU drew and the share of its bf16 peak that matrix products of output tokens reach."""

    model: str
    shape: tuple[int, int]  # hidden size and layers: models that differ in tuning or precision alone share it
    gpus: int
    watts: float
    utilization: float


@dataclass(frozen=True)
class PowerFit:
    """Power ``base + slope * sqrt(utilization)`` in W, fitted to ``samples`` runs.

    ``error`` is the mean relative error over all runs, ``errors`` those by model and number of GPUs, where the fit had
    not seen any model of that shape; ``bias`` has the same with its sign. ``skipped`` counts the rows that could not be
    used, by reason.
    """

    base: float
    slope: float
    samples: int
    error: float
    errors: dict[tuple[str, int], float]
    bias: dict[tuple[str, int], float]
    skipped: dict[str, int]


def fit_power(path: Path, profile: Profile) -> PowerFit:
    """Fit the curve of a GPU to its rows in a CSV of saturated runs (columns as in ML.ENERGY's).

    Least squares in watts. InputError where the profile has no bf16 peak or power limit, or fewer than three models
    have rows: none could then be left out.
    """
    if profile.power is None or "bfloat16" not in profile.peak:
        raise InputError(f"{profile.name} needs 'power' and a bfloat16 'peak' before a power curve can be fitted")
    loads, skipped = _loads(path, profile)
    shapes = {load.shape for load in loads}
    if len(shapes) < 3:
        raise InputError(f"runs of {len(shapes)} models on {profile.name}; a fit needs three or more", where=str(path))
    watts, x = _columns(loads)
    base, slope = _line(x, watts)
    predicted = np.empty_like(watts)
    for shape in shapes:
        unseen = np.array([load.shape == shape for load in loads])
        low, rise = _line(x[~unseen], watts[~unseen])
        predicted[unseen] = np.minimum(low + rise * x[unseen], profile.power.tdp)
    off = predicted / watts - 1
    keys = [(load.model, load.gpus) for load in loads]
    groups = {key: off[[each == key for each in keys]] for key in sorted(set(keys))}
    return PowerFit(
        base,
        slope,
        len(loads),
        float(np.abs(off).mean()),
        {key: float(np.abs(each).mean()) for key, each in groups.items()},
        {key: float(each.mean()) for key, each in groups.items()},
        skipped,
    )


def _loads(path: Path, profile: Profile) -> tuple[list[Load], dict[str, int]]:
    loads: list[Load] = []
    skipped: dict[str, int] = {}
    for row in read_rows(path, REQUIRED):
        try:
            if hardware_named(row.text("gpu_model")) == profile.name:
                loads.append(_load(row, profile.peak["bfloat16"]))
        except InputError as problem:
            skipped[problem.message] = skipped.get(problem.message, 0) + 1
    return loads, skipped


def _load(row: Row, peak: float) -> Load:
    checkpoint = checkpoint_named(row.text("model_id"), row.text("weight_precision"))
    gpus = row.count("num_gpus") or 1
    rate = row.latency("output_throughput_tokens_per_sec")
    model = load_model(checkpoint.model)
    utilization = matmul_flops(model) * rate / (gpus * peak)
    shape = (model.hidden, model.layers)
    return Load(row.text("model_id"), shape, gpus, row.latency("avg_power_watts") / gpus, utilization)


def _columns(loads: list[Load]) -> tuple[Float, Float]:
    return np.array([load.watts for load in loads]), np.sqrt([load.utilization for load in loads])


def _line(x: Float, y: Float) -> tuple[float, float]:
    slope, base = np.polyfit(x, y, 1)
    return float(base), float(slope)
