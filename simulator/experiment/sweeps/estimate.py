"""How long a sweep's missing points will take: from points that are done, or from a short calibration run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simulator.experiment.load import Variant
from simulator.experiment.sweeps.point import PointTask, run_point
from simulator.experiment.sweeps.sweep import Sweep
from simulator.workload.build import build

_WARM_UP = 20  # requests of the first run, which loads profiles and builds cost models
_CALIBRATION = 500  # requests more in the run that is timed
_LOOKED_AT = 25  # missing points whose requests are counted, evenly spread; the others are taken to be like them


@dataclass(frozen=True)
class Estimate:
    """Seconds on one worker for everything missing, and what the estimate rests on."""

    seconds: float
    basis: str


def estimate(sweep: Sweep) -> Estimate:
    """Return how long the missing points will take; runs a few hundred requests if no point is done yet."""
    missing = list(sweep.missing().values())
    if not missing:
        return Estimate(0.0, "nothing is missing")
    step = max(1, len(missing) // _LOOKED_AT)
    looked_at = missing[::step]
    requests = sum(_requests(sweep, variant) for variant in looked_at) * len(missing) / len(looked_at)
    done = [sweep.store.path(key) / "summary.json" for key in sweep.keys if sweep.store.has(key)]
    if done:
        per_request = _from_done(done)
        return Estimate(per_request * requests, f"{len(done)} points that are done")
    fixed, per_request = _calibrate(sweep, missing[len(missing) // 2])
    return Estimate(fixed * len(missing) + per_request * requests, f"a run of {_CALIBRATION} requests")


def _from_done(files: Sequence[Path]) -> float:
    """Return the mean seconds a request took in points that are done."""
    runs = [json.loads(file.read_text(encoding="utf-8"))["runs"][0] for file in files]
    requests = sum(run["workload"]["requests"] for run in runs)
    return float(sum(run["timing"]["point_s"] for run in runs) / requests)


def _calibrate(sweep: Sweep, variant: Variant) -> tuple[float, float]:
    """Return the seconds a point takes whatever its size, and those that each request adds."""
    _time(sweep, variant, _WARM_UP)
    fixed = _time(sweep, variant, _WARM_UP)
    return fixed, max(_time(sweep, variant, _WARM_UP + _CALIBRATION) - fixed, 0.0) / _CALIBRATION


def _time(sweep: Sweep, variant: Variant, limit: int) -> float:
    workload = variant.config.workload
    short = workload.model_copy(update={"limit": min(limit, workload.limit or limit)})
    config = variant.config.model_copy(update={"workload": short})
    task = PointTask("", Variant(variant.name, config, variant.variant, variant.sweep), sweep.loaded.folder, False)
    summary = json.loads(run_point(task).files["summary.json"])
    return float(summary["runs"][0]["timing"]["point_s"])


def _requests(sweep: Sweep, variant: Variant) -> int:
    return len(build(variant.config.workload, variant.config.seed, sweep.loaded.folder))
