"""Replicas compared: each metric's mean over seeds, and whether a difference from the base is more than chance."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simulator.experiment.sweeps.bootstrap import CONFIDENCE, FEWEST, Bootstrap

_SEED = "seed"
_METHOD = "bootstrap over seeds, expanded percentile interval; differences paired by seed"

Run = Mapping[str, Any]


def comparison_of(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Return what ``summary.json`` says under ``comparison``; None unless points ran with several seeds.

    Runs that differ in their seed alone are replicas of a point. With variants a point's base is the first variant at
    the same swept values, otherwise the first point. Only seeds that both have are compared.
    """
    points: dict[str, list[Run]] = {}
    for run in runs:
        points.setdefault(repr((run["variant"], _swept(run))), []).append(run)
    if max(map(len, points.values()), default=0) < 2:
        return None
    seeds = list(dict.fromkeys(_seed(run) for run in runs))
    groups = list(points.values())
    entries = []
    for group in groups:
        base = _base(group, groups)
        entry = {
            "name": _name(group[0]),
            "variant": group[0]["variant"],
            "sweep": _swept(group[0]),
            "seeds": [_seed(run) for run in group],
            "base": None if base is group else _name(base[0]),
            "metrics": _means(group),
        }
        if base is not group:
            entry["differences"] = _differences(base, group)
        entries.append(entry)
    return {"confidence": CONFIDENCE, "method": _METHOD, "fewest_seeds": FEWEST, "seeds": seeds, "points": entries}


def _seed(run: Run) -> Any:
    return run["sweep"].get(_SEED)


def _swept(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run["sweep"].items() if key != _SEED}


def _name(run: Run) -> str:
    """Return a run's name without its seed."""
    return str(run["name"]).removesuffix(f"{_SEED}={_seed(run)}").strip() or str(run["variant"])


def _base(group: list[Run], groups: list[list[Run]]) -> list[Run]:
    first = groups[0]
    if all(other[0]["variant"] == first[0]["variant"] for other in groups):
        return first
    alike = (other for other in groups if other[0]["variant"] == first[0]["variant"])
    return next((other for other in alike if _swept(other[0]) == _swept(group[0])), group)


def _means(group: list[Run]) -> dict[str, Any]:
    bootstrap = Bootstrap(len(group))
    return {name: _estimate(bootstrap, [run["metrics"].get(name) for run in group]) for name in group[0]["metrics"]}


def _estimate(bootstrap: Bootstrap, values: Sequence[float | None]) -> dict[str, float | None] | None:
    """Return mean and interval of a metric; None where a replica has no figure."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    interval = bootstrap.interval(np.array(known, dtype=float))
    low, high = interval or (None, None)
    return {"mean": math.fsum(known) / len(known), "low": low, "high": high}


def _differences(base: list[Run], group: list[Run]) -> dict[str, Any]:
    of_base = {_seed(run): run["metrics"] for run in base}
    pairs = [(of_base[_seed(run)], run["metrics"]) for run in group if _seed(run) in of_base]
    if not pairs:
        return {}
    bootstrap = Bootstrap(len(pairs))
    found: dict[str, Any] = {}
    for name in group[0]["metrics"]:
        both = [(before.get(name), after.get(name)) for before, after in pairs]
        gaps = [None if before is None or after is None else after - before for before, after in both]
        estimate = _estimate(bootstrap, gaps)
        if estimate is None:
            found[name] = None
            continue
        mean_base = math.fsum(before for before, _ in both if before is not None) / len(both)
        found[name] = {
            **estimate,
            "relative": estimate["mean"] / mean_base if mean_base and estimate["mean"] is not None else None,
            "real": _real(estimate),
        }
    return found


def _real(estimate: Mapping[str, float | None]) -> bool | None:
    """Tell whether an interval leaves out zero; None where there were too few seeds for one."""
    low, high = estimate["low"], estimate["high"]
    if low is None or high is None:
        return None
    return low > 0 or high < 0
