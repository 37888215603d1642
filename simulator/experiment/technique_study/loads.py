"""The shipped experiments of techniques, run: how much faster than the baseline at low, medium and high load."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from simulator.core.data import data_dir
from simulator.experiment.load import LoadedExperiment, load_experiment
from simulator.experiment.runner import run_experiment


class Measured(NamedTuple):
    """A run's median TTFT and TPOT and mean end-to-end latency in ms (None: no request has one); failed requests."""

    ttft: float | None
    tpot: float | None
    e2e: float | None
    failed: int

    def times_faster(self, base: "Measured") -> tuple[float | None, ...]:
        """Return the base's latency over this one's, by metric: above 1 is faster; None where either has none."""
        pairs = zip(base[:3], self[:3], strict=True)
        return tuple(theirs / ours if theirs and ours else None for theirs, ours in pairs)


@dataclass(frozen=True)
class Comparison:
    """One experiment: variants by name, the first of them the baseline, each measured at the same ``loads``."""

    name: str
    title: str
    loads: list[str]
    variants: dict[str, list[Measured]]
    techniques: dict[str, list[str]]

    @property
    def base(self) -> list[Measured]:
        """The baseline's measurements, by load."""
        return next(iter(self.variants.values()))

    def gains(self, variant: str) -> list[tuple[float | None, ...]]:
        """Return how many times faster than the baseline a variant's TTFT, TPOT and e2e latency are, by load."""
        return [one.times_faster(base) for one, base in zip(self.variants[variant], self.base, strict=True)]


def experiments(folder: Path | None = None) -> list[Path]:
    """Return the experiments of a folder, the shipped ones of techniques without it."""
    return sorted((folder or data_dir("experiments") / "techniques").glob("*.yaml"))


def compare(path: Path, progress: Callable[[str], None] = lambda text: None) -> Comparison:
    """Return one experiment's comparison; it sweeps a rate or whatever else makes load."""
    loaded = load_experiment(path)
    with TemporaryDirectory() as folder:
        summary = run_experiment(loaded, Path(folder), progress=lambda event: progress(event.run)).summary
    variants: dict[str, list[Measured]] = {}
    loads: list[str] = []
    for run in summary["runs"]:
        metrics = run["metrics"]
        found = Measured(
            metrics["median_ttft_ms"], metrics["median_tpot_ms"], metrics["mean_e2el_ms"], metrics["failed"]
        )
        variants.setdefault(run["variant"], []).append(found)
        load = ", ".join(str(value) for value in run["sweep"].values())
        if load not in loads:
            loads.append(load)
    return Comparison(loaded.name, _title(path), loads, variants, _techniques(loaded))


def _techniques(loaded: LoadedExperiment) -> dict[str, list[str]]:
    return {run.variant: [choice.name for choice in run.config.techniques] for run in loaded.runs}


def _title(path: Path) -> str:
    """Return the comment that an experiment begins with."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(line for line in lines if line)
