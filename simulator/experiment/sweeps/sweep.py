"""Run a sweep: the points that are not done yet on the workers there are, then everything merged into one folder."""

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.errors import InputError
from simulator.experiment.assemble import assemble
from simulator.experiment.load import LoadedExperiment, Variant
from simulator.experiment.results import ResultsFolder
from simulator.experiment.runner import SCHEMA, ExperimentResult
from simulator.experiment.sweeps.comparison import comparison_of
from simulator.experiment.sweeps.content_key import ContentKeys
from simulator.experiment.sweeps.point import PointTask, run_point
from simulator.experiment.sweeps.point_store import PointStore
from simulator.experiment.sweeps.workers import Workers
from simulator.workload.table import Workload

POINTS = "points"
TABLES = ("requests.parquet", "iterations.parquet", "spans.parquet", "moves.parquet")

Listener = Callable[[int, int], None]


@dataclass(frozen=True)
class Sweep:
    """An experiment's points in their order, and which of them are to run: those not done, or all with ``force``."""

    loaded: LoadedExperiment
    out: Path
    exact_steps: bool = False
    force: bool = False

    @cached_property
    def store(self) -> PointStore:
        """Where the points lie."""
        return PointStore(self.out / self.loaded.name / POINTS)

    @cached_property
    def keys(self) -> dict[str, Variant]:
        """The runs by content key."""
        keys = ContentKeys(self.loaded.folder, exact_steps=self.exact_steps)
        return {keys.key(variant): variant for variant in self.loaded.runs}

    def missing(self) -> dict[str, Variant]:
        """Return the runs that are to run, by content key."""
        return {key: variant for key, variant in self.keys.items() if self.force or not self.store.has(key)}

    def run(self, workers: Workers, progress: Listener | None = None) -> ExperimentResult:
        """Run what is missing and write ``out/<name>/``; ``progress`` hears how many points are done, and of how many.

        On KeyboardInterrupt the points done by then are merged and the result says so; without any it goes through.
        InputError where the parts of a point do not fit together; WorkerLost if a worker dies.
        """
        todo = self.missing()
        check(list(todo.values()))
        self.store.clean()
        # Where the command was typed: a policy given as module:Class may live there.
        imports = tuple(folder for folder in sys.path if folder == str(Path.cwd()))
        tasks = [
            PointTask(key, variant, self.loaded.folder.resolve(), self.exact_steps, imports)
            for key, variant in todo.items()
        ]
        interrupted, done = False, len(self.keys) - len(todo)
        report = progress or (lambda done, count: None)
        try:
            report(done, len(self.keys))
            for result in workers.map(run_point, tasks):
                self.store.put(result.key, result.files)
                done += 1
                report(done, len(self.keys))
        except KeyboardInterrupt:
            if not any(map(self.store.has, self.keys)):
                raise
            interrupted = True
        return ExperimentResult(self._merge(), self.store.folder.parent, interrupted)

    def _merge(self) -> dict[str, Any]:
        """Write the files of the whole sweep from its points' own, in the points' order; return the summary."""
        there = [key for key in self.keys if self.store.has(key)]
        runs = [self._summary_of(key) for key in there]
        summary: dict[str, Any] = {"schema": SCHEMA, "experiment": self.loaded.name, "runs": runs}
        if (comparison := comparison_of(runs)) is not None:
            summary["comparison"] = comparison
        with ResultsFolder(self.store.folder.parent) as results, ThreadPoolExecutor(len(TABLES)) as pool:
            # Arrow works without the interpreter's lock, so the tables are written at the same time.
            def merge(name: str) -> None:
                results.copy_rows(name, [self.store.path(key) for key in there])

            list(pool.map(merge, TABLES))
            results.write_text("config.resolved.yaml", self.loaded.resolved())
            results.write_summary(summary)
        return summary

    def _summary_of(self, key: str) -> dict[str, Any]:
        file = self.store.path(key) / "summary.json"
        try:
            run: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["runs"][0]
        except (OSError, ValueError, LookupError) as error:
            raise InputError(f"this point cannot be read: {error}", where=str(file), hint="delete its folder") from None
        return {**run, "folder": f"{POINTS}/{key}"}


def check(variants: list[Variant]) -> None:
    """Put each different cluster together once, so that what cannot run is found before anything does."""
    zero, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    one_request = Workload("check", "one request", zero, one, one)
    seen: list[Any] = []
    for variant in variants:
        config = variant.config
        shares = config.workload.models
        what = (config.model, config.cluster, config.techniques, shares)
        if what not in seen:
            # For some model that there is; whether a trace asks for others is known when it is read.
            asked = tuple(shares or [spec.model or config.model for spec in config.cluster.instances])
            assemble(config, replace(one_request, model=zero, models=asked))
            seen.append(what)
