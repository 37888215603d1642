"""Errors of predictions: signed, as fractions of the measured value, and what they come to over many points."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Float = NDArray[np.float64]


def error(predicted: float, measured: float) -> float:
    """Return ``predicted / measured - 1``."""
    return predicted / measured - 1


def mape(errors: Sequence[float]) -> float | None:
    """Return the mean absolute error; None of none."""
    return float(np.abs(errors).mean()) if len(errors) else None


def bias(errors: Sequence[float]) -> float | None:
    """Return the mean signed error; None of none."""
    return float(np.mean(errors)) if len(errors) else None


def grouped(items: Iterable[T], key: Callable[[T], Hashable]) -> dict[Any, list[T]]:
    """Return the items of each key, keys in order of appearance."""
    groups: dict[Any, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def spread_of(values: Float) -> dict[str, float] | None:
    """Return mean, p50, p90 and p99 of what is not NaN; None where nothing is left."""
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    p50, p90, p99 = np.percentile(values, [50, 90, 99]).tolist()
    return {"mean": float(values.mean()), "p50": p50, "p90": p90, "p99": p99}


def compare(latencies: Mapping[str, tuple[Float, Float]]) -> dict[str, Any]:
    """Return ``errors``, ``measured_ms`` and ``predicted_ms`` by metric and statistic.

    ``latencies`` has predicted and measured values of each metric, one a request; a metric that either side lacks is
    left out, and so is one that was 0 (the TPOT of answers that came in one piece).
    """
    spreads = {name: (spread_of(ours), spread_of(theirs)) for name, (ours, theirs) in latencies.items()}
    both = {
        name: (ours, theirs) for name, (ours, theirs) in spreads.items() if ours and theirs and all(theirs.values())
    }
    return {
        "errors": {name: {at: error(ours[at], theirs[at]) for at in ours} for name, (ours, theirs) in both.items()},
        "measured_ms": {name: theirs for name, (_, theirs) in both.items()},
        "predicted_ms": {name: ours for name, (ours, _) in both.items()},
    }


def worst_mean(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a list of compared runs comes to: the largest absolute error of a mean, and of p90 and p99."""
    means = {(run["run"], name): abs(at["mean"]) for run in runs for name, at in run["errors"].items()}
    tails = [abs(at[tail]) for run in runs for at in run["errors"].values() for tail in ("p90", "p99")]
    worst = max(means, key=lambda key: means[key], default=None)
    return {
        "points": len(runs),
        "requests": sum(run["requests"] for run in runs),
        "worst_mean_error": None if worst is None else means[worst],
        "worst": None if worst is None else {"run": worst[0], "metric": worst[1]},
        "worst_tail_error": max(tails, default=None),
    }
