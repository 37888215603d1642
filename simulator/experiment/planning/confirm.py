"""The answer checked by runs of their own: the winner under the planned load, and the next smaller cluster."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.core.yaml_source import dump_yaml
from simulator.experiment.load import load_experiment
from simulator.experiment.planning.load_plan import Candidate, LoadedPlan
from simulator.experiment.planning.requirements import missed, request_slo
from simulator.experiment.runner import run_experiment
from simulator.experiment.sweeps.workers import Workers

WINNER = "winner.yaml"


@dataclass(frozen=True)
class _Run:
    file: Path
    out: Path
    imports: tuple[str, ...]


def write_experiment(plan: LoadedPlan, candidate: Candidate, units: int, file: Path, title: str) -> None:
    """Write the experiment of so many units of a candidate under the plan's load, ready for ``tokenyard run``."""
    tree = candidate.sized_tree(units)
    slo = {name: f"{limit * 1e3:g}ms" for name, limit in request_slo(plan.spec.slo) if limit is not None}
    # An attainment is a share of requests within limits; percentiles are judged by 'tokenyard plan' itself.
    experiment = {**tree, "name": f"{plan.spec.name}-{file.stem}", "slo": slo}
    file.write_text(f"# {title}\n{dump_yaml(experiment)}", encoding="utf-8")


def confirm(plan: LoadedPlan, candidate: Candidate, units: int, folder: Path, workers: Workers) -> dict[str, Any]:
    """Write ``winner.yaml`` (and ``smaller.yaml``), run both to their end, and return what each gave.

    ``winner`` and ``smaller`` have ``units``, ``gpus``, ``meets``, ``missed`` in words and ``metrics``; ``smaller`` is
    None if one unit is enough. Results lie beside the files.
    """
    sizes = {WINNER: units} | ({"smaller.yaml": units - 1} if units > 1 else {})
    titles = {WINNER: "What 'tokenyard plan' chose", "smaller.yaml": "One unit less than 'tokenyard plan' chose"}
    for name, size in sizes.items():
        write_experiment(plan, candidate, size, folder / name, f"{titles[name]}: {size} x {candidate.name}")
    imports = tuple(each for each in sys.path if each == str(Path.cwd()))
    found = dict(workers.map(_run, [_Run(folder / name, folder, imports) for name in sizes]))

    def described(name: str) -> dict[str, Any]:
        metrics = found[name]
        why = _why_not(plan, metrics)
        return {"units": sizes[name], "gpus": sizes[name] * candidate.gpus, "meets": not why, "missed": why,
                "metrics": metrics}  # fmt: skip

    return {"winner": described(WINNER), "smaller": described("smaller.yaml") if units > 1 else None}


def _run(run: _Run) -> tuple[str, dict[str, Any]]:
    sys.path.extend(folder for folder in run.imports if folder not in sys.path)
    result = run_experiment(load_experiment(run.file), run.out)
    if result.interrupted:
        raise KeyboardInterrupt  # half a run confirms nothing
    return run.file.name, result.summary["runs"][0]["metrics"]


def _why_not(plan: LoadedPlan, metrics: Mapping[str, Any]) -> Sequence[str]:
    failed = [f"{metrics['failed']} requests failed"] if metrics["failed"] else []
    return failed + [each.explain(metrics) for each in missed(plan.requirements, metrics)]
