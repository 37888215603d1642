"""One point of a sweep, run wherever a worker is: a task in, the files of its results folder out."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from simulator.core.yaml_source import Place, YamlSource
from simulator.experiment.load import LoadedExperiment, Variant
from simulator.experiment.runner import run_experiment


@dataclass(frozen=True)
class PointTask:
    """A run and its content key; ``folder`` is where its paths count from, ``imports`` where its own policies lie."""

    key: str
    variant: Variant
    folder: Path
    exact_steps: bool
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class PointResult:
    """The files of a point's results folder, by name."""

    key: str
    files: Mapping[str, bytes]


def run_point(task: PointTask) -> PointResult:
    """Simulate a point and return its results folder; nothing is left on the worker's disk."""
    sys.path.extend(folder for folder in task.imports if folder not in sys.path)
    start = time.perf_counter()
    config = task.variant.config
    nowhere = YamlSource(None, {(): Place(task.variant.name, task.variant.name)})
    with TemporaryDirectory(prefix="tokenyard-") as scratch:
        alone = LoadedExperiment(config, [task.variant], task.folder, nowhere)
        result = run_experiment(alone, Path(scratch), exact_steps=task.exact_steps)
        if result.interrupted:
            raise KeyboardInterrupt  # half a point is no point
        files = {path.name: path.read_bytes() for path in sorted(result.folder.iterdir())}
    summary = result.summary
    summary["runs"][0]["timing"]["point_s"] = time.perf_counter() - start
    files["summary.json"] = (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode()
    return PointResult(task.key, files)
