"""Objectives of a load: whether figures meet them, and by how much they miss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.experiment.planning.spec import PlanSlo
from simulator.experiment.schema import Slo

_NAMES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "end-to-end latency"}
_SHARES = {"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Requirement:
    """One objective: the metric ``key`` must not exceed ``limit`` (ms); attainment must not fall below it."""

    key: str
    label: str
    limit: float

    def excess(self, metrics: Mapping[str, Any]) -> float:
        """Return how far a metric is beyond its limit as a share of it; 0 at the limit, below 0 within."""
        value = metrics.get(self.key)
        if value is None:
            # Nobody completed, or no request has more than one token: the first misses, the second cannot.
            return float("inf") if not metrics.get("completed") else -1.0
        if self.key == "slo_attainment":
            return (self.limit - float(value)) / self.limit
        return float(value) / self.limit - 1

    def explain(self, metrics: Mapping[str, Any]) -> str:
        """Return by how much the objective is missed, in one phrase."""
        value = metrics.get(self.key)
        if value is None:
            return f"{self.label}: no request completed"
        if self.key == "slo_attainment":
            return f"{float(value):.1%} of requests meet their limits instead of {self.limit:.1%}"
        return f"{self.label} {_time(float(value))}, {self.excess(metrics):.0%} over {_time(self.limit)}"


def requirements(slo: PlanSlo) -> tuple[Requirement, ...]:
    """Return the objectives of a plan."""
    found = []
    for name, title in _NAMES.items():
        for percentile, limit in getattr(slo, name).items():
            if percentile != "each":
                found.append(Requirement(f"{percentile}_{name}_ms", f"{title} {percentile}", limit * 1e3))
    if any("each" in getattr(slo, name) for name in ("ttft", "tpot", "e2el")):
        found.append(Requirement("slo_attainment", "attainment", slo.attainment))
    return tuple(found)


def request_slo(slo: PlanSlo) -> Slo:
    """Return what counts as a good request: its own limits, else those of the highest percentile."""

    def limit(limits: Mapping[Any, float]) -> float | None:
        order = ("each", "p99", "p95", "p90", "median", "mean")
        return next((limits[name] for name in order if name in limits), None)

    return Slo.model_construct(ttft=limit(slo.ttft), tpot=limit(slo.tpot), e2el=limit(slo.e2el))


def allowed_misses(requirements: Sequence[Requirement], requests: int) -> dict[str, tuple[float, float]]:
    """Return by metric (``ttft``, ``tpot``, ``e2el``) a limit in ms and how many requests may exceed it.

    Only percentiles are bounds that a running simulation can break for good.
    """
    bounds: dict[str, tuple[float, float]] = {}
    for each in requirements:
        percentile, _, name = each.key.removesuffix("_ms").partition("_")
        if percentile in _SHARES and name != "itl":
            # Two more than the share: a percentile is interpolated between neighbours.
            bounds[name] = (each.limit, (1 - _SHARES[percentile]) * requests + 2)
    return bounds


def missed(requirements: Sequence[Requirement], metrics: Mapping[str, Any]) -> list[Requirement]:
    """Return the objectives that figures miss, worst first."""
    found = [each for each in requirements if each.excess(metrics) > 0]
    return sorted(found, key=lambda each: -each.excess(metrics))


def _time(milliseconds: float) -> str:
    return f"{milliseconds / 1e3:.3g} s" if milliseconds >= 1000 else f"{milliseconds:.3g} ms"
