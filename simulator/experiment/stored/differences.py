"""Several runs beside each other: each metric of each run, and how it differs from the first run's."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from simulator.core.errors import InputError
from simulator.experiment.stored.folder import StoredRun


def differences(runs: Sequence[StoredRun]) -> dict[str, Any]:
    """Return the runs' metrics and, for all but the first, absolute and relative differences from it.

    A difference is null where either run has no figure, a relative one also where the first has 0. InputError for fewer
    than two runs.
    """
    if len(runs) < 2:
        hint = "give another folder, or a folder of several runs"
        raise InputError("one run alone has nothing to compare with", where=str(runs[0].folder), hint=hint)
    labels = _labels(runs)
    base = runs[0].entry["metrics"]
    entries = []
    for label, run in zip(labels, runs, strict=True):
        metrics = run.entry["metrics"]
        entry = {"label": label, "folder": str(run.folder), "name": run.name, "metrics": metrics}
        if run is not runs[0]:
            entry["differences"] = {name: _difference(base.get(name), value) for name, value in metrics.items()}
        entries.append(entry)
    return {"base": labels[0], "runs": entries}


def _difference(base: float | None, value: float | None) -> dict[str, float | None]:
    if base is None or value is None:
        return {"absolute": None, "relative": None}
    return {"absolute": value - base, "relative": (value - base) / base if base else None}


def _labels(runs: Sequence[StoredRun]) -> list[str]:
    """Return the shortest names that tell the runs apart: their own, their folder's, or both."""
    folders = [run.folder.resolve() for run in runs]
    choices = (
        [run.name for run in runs],
        [folder.name for folder in folders],
        [f"{folder.name}: {run.name}" for folder, run in zip(folders, runs, strict=True)],
        [f"{run.folder}: {run.name}" for run in runs],
    )
    for labels in choices:
        if len(set(labels)) == len(labels):
            return labels
    seen: Counter[str] = Counter()
    labels = []
    for label in choices[-1]:  # the same run twice
        seen[label] += 1
        labels.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return labels
