"""Run an experiment from Python: what ``tokenyard run`` does, with the results as an object."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simulator.core.errors import InputError
from simulator.experiment.load import load_experiment, load_mapping
from simulator.experiment.runner import run_experiment
from simulator.experiment.stored.frames import Results
from simulator.experiment.sweeps.sweep import Sweep
from simulator.experiment.sweeps.workers import Workers


def run(
    experiment: str | Path | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | Sequence[str],
    out: str | Path,
    jobs: int | None,
) -> Results:
    """Simulate an experiment and return its results; as ``simulator.run``, where the parameters are described."""
    if isinstance(overrides, Mapping):
        overrides = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    if isinstance(experiment, Mapping):
        loaded = load_mapping(experiment, Path(), overrides)
    else:
        loaded = load_experiment(Path(experiment), overrides)
    try:
        if loaded.base.sweep.empty:
            result = run_experiment(loaded, Path(out))
        else:
            result = Sweep(loaded, Path(out)).run(Workers(jobs))
    except InputError as error:
        raise loaded.locate(error) from None
    if result.interrupted:
        raise KeyboardInterrupt
    return Results(result.folder)
