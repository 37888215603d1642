"""A capacity plan from its YAML to its answer, and the files that hold it."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simulator.experiment.planning.confirm import WINNER, confirm
from simulator.experiment.planning.journal import Journal
from simulator.experiment.planning.load_plan import LoadedPlan
from simulator.experiment.planning.requirements import missed
from simulator.experiment.planning.rounds import SLICE, WHOLE, Listener, Rounds, Standing
from simulator.experiment.sweeps.workers import Workers

SCHEMA = 1
_FRONT = ("p99_ttft_ms", "p99_tpot_ms")


def make_plan(
    plan: LoadedPlan, out: Path, workers: Workers, *, fresh: bool = False, progress: Listener | None = None
) -> dict[str, Any]:
    """Search a plan's candidates, confirm the best, and write ``out/<name>/``; return the content of ``plan.json``.

    Simulations go to ``simulations.jsonl`` as they come, and those found there are not done again unless ``fresh``.
    ``winner`` is None where no candidate serves the load within the budget. InputError where the parts of the plan do
    not fit together; KeyboardInterrupt goes through, with the journal written.
    """
    start, folder = time.perf_counter(), out / plan.spec.name
    folder.mkdir(parents=True, exist_ok=True)
    report = progress or (lambda name, done, total: None)
    with Journal(folder / "simulations.jsonl", fresh=fresh) as journal:
        rounds = Rounds(plan, journal, workers, report)
        rounds.run()
        ranked = rounds.ranked()
        best = next((each for each in ranked if _serves(each)), None)
        confirmation = None
        if best is not None and best.units is not None:
            report("confirm", 0, 1)
            confirmation = confirm(plan, best.candidate, best.units, folder, workers)
            report("confirm", 1, 1)
        else:
            (folder / WINNER).unlink(missing_ok=True)  # of an earlier plan
        answer = {
            "schema": SCHEMA,
            "name": plan.spec.name,
            "objective": plan.spec.objective,
            "slo": _slo(plan),
            "limits": {each.key: each.limit for each in plan.requirements},
            "budget": plan.spec.budget.model_dump(mode="json", exclude_none=True),
            "load": {
                "requests": len(rounds.whole.workload),
                "rate": rounds.whole.rate,
                "source": rounds.whole.workload.source,
            },
            "winner": None if best is None else best.candidate.name,
            "candidates": [_candidate(rounds, each, place, best) for place, each in enumerate(ranked, 1)],
            "front": _front(rounds),
            "confirmation": confirmation,
            "simulations": rounds.simulations,
            "timing": {"wall_s": time.perf_counter() - start, "simulations_found": journal.found},
        }
    part = folder / ".plan.json.part"
    part.write_text(json.dumps(answer, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(folder / "plan.json")
    return answer


def _serves(standing: Standing) -> bool:
    return not standing.out and WHOLE in standing.findings


def _slo(plan: LoadedPlan) -> dict[str, Any]:
    """Return the objectives in ms by latency and percentile, as the YAML groups them."""
    slo: dict[str, Any] = {}
    for name in ("ttft", "tpot", "itl", "e2el"):
        if limits := getattr(plan.spec.slo, name):
            slo[name] = {percentile: limit * 1e3 for percentile, limit in limits.items()}
    return slo | {"attainment": plan.spec.slo.attainment}


def _candidate(rounds: Rounds, standing: Standing, place: int, best: Standing | None) -> dict[str, Any]:
    candidate, found, value = standing.candidate, standing.last, rounds.value(standing)
    serves = _serves(standing)
    sized = found is not None and found.load in (SLICE, WHOLE) and found.fits
    # What was tried, or would be: one that serves at no size was tried at the most that the budget allows.
    units = rounds.units(standing) or (standing.most if sized else 1)
    behind = "" if standing is best else _behind(rounds, standing, best) if serves else standing.out
    return {
        "rank": place,
        "name": candidate.name,
        "choices": candidate.choices,
        "units": units,
        "gpus": units * candidate.gpus,
        "cost_per_hour": None if candidate.usd_per_hour is None else units * candidate.usd_per_hour,
        "objective": None if value == math.inf else value,
        "round": None if found is None else found.load,
        "metrics": found.metrics if found is not None and sized else {},
        "feasible": serves,
        "reason": behind,
        "edge": _edge(standing),
    }


def _behind(rounds: Rounds, standing: Standing, best: Standing | None) -> str:
    assert best is not None
    value, least = rounds.value(standing), rounds.value(best)
    if value > least:
        return f"{rounds.shown(value)}, {value / least - 1:.0%} more than the winner"
    return f"as good as the winner at {rounds.shown(value)}, with less room below the limits"


def _edge(standing: Standing) -> dict[str, float | None] | None:
    """Return what one unit serves at the edge of the SLO: requests a second, by GPU, by dollar and by joule."""
    rate, candidate = standing.edge, standing.candidate
    if rate is None:
        return None
    metrics = standing.findings["probe"].metrics
    # Not goodput over the run's duration: the probe is short, and its last requests run on when none arrive any more.
    attainment, power = metrics["slo_attainment"], metrics["mean_power_w"]
    goodput = rate if attainment is None else rate * attainment
    return {
        "rate": rate,
        "goodput": goodput,
        "goodput_per_gpu": goodput / candidate.gpus,
        "requests_per_usd": None if not candidate.usd_per_hour else goodput * 3600 / candidate.usd_per_hour,
        "requests_per_kj": None if not power else goodput / power * 1e3,
    }


def _front(rounds: Rounds) -> list[dict[str, Any]]:
    """Return the clusters tried on the whole load that no other beats in cost, TTFT p99 and TPOT p99 together.

    Where a price is unknown, GPUs are compared instead of cost.
    """
    tried = []
    priced = all(each.candidate.usd_per_hour is not None for each in rounds.standings if WHOLE in each.findings)
    for standing in rounds.standings:
        if WHOLE not in standing.findings:
            continue
        candidate = standing.candidate
        for units, metrics in rounds.tried(standing, WHOLE):
            if metrics["stopped"] is not None or metrics["failed"] or missed(rounds.plan.requirements, metrics):
                continue
            cost = None if candidate.usd_per_hour is None else units * candidate.usd_per_hour
            tried.append({"name": candidate.name, "units": units, "gpus": units * candidate.gpus,
                          "cost_per_hour": cost, "metrics": metrics})  # fmt: skip

    def figures(cluster: Mapping[str, Any]) -> tuple[float, ...]:
        spent = cluster["cost_per_hour"] if priced else cluster["gpus"]
        return (float(spent), *(float(cluster["metrics"][key] or 0.0) for key in _FRONT))

    points = [figures(each) for each in tried]
    best = [
        each for each, point in zip(tried, points, strict=True) if not any(_beats(other, point) for other in points)
    ]
    return sorted(best, key=figures)


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(left <= right for left, right in zip(one, other, strict=True))
