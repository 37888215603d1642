"""Successive halving: every candidate on a short stretch of the load, the best of them on longer ones.

Round 1 finds the rate at which one unit is at the edge of its SLO (goodput per GPU, dollar and watt); round 2 sizes the
best on the load's busiest stretch, round 3 the best of those on all of it. (Jamieson and Talwalkar, AISTATS 2016.)
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import mul
from pathlib import Path
from typing import Any

from simulator.experiment.load import Variant
from simulator.experiment.planning.examine import Finding, Task, examine, units_for
from simulator.experiment.planning.journal import Journal
from simulator.experiment.planning.load_plan import Candidate, LoadedPlan
from simulator.experiment.planning.measure import Load, busiest
from simulator.experiment.planning.sampling import Point, sample
from simulator.experiment.sweeps.content_key import ContentKeys
from simulator.experiment.sweeps.workers import Workers
from simulator.workload.build import build

PROBE, SLICE, WHOLE = "probe", "slice", "whole"
Listener = Callable[[str, int, int], None]  # round, candidates done, candidates in it


@dataclass
class Standing:
    """A candidate's way through the rounds: its findings, and why it is out (empty while it is in)."""

    candidate: Candidate
    most: int
    findings: dict[str, Finding] = field(default_factory=dict)
    out: str = ""

    @property
    def last(self) -> Finding | None:
        """What its last round found."""
        return list(self.findings.values())[-1] if self.findings else None

    @property
    def units(self) -> int | None:
        """Units it needs for the whole load, as far as it is known: found in the last round that sized it."""
        return next((found.units for found in reversed(self.findings.values()) if found.units), None)

    @property
    def edge(self) -> float | None:
        """Requests a second of one unit at the SLO edge."""
        found = self.findings.get(PROBE)
        return None if found is None else found.edge


class Rounds:
    """Searches a plan's candidates; everything simulated goes to the journal as it comes."""

    def __init__(self, plan: LoadedPlan, journal: Journal, workers: Workers, progress: Listener) -> None:
        self.plan, self.journal, self.workers, self.progress = plan, journal, workers, progress
        self.standings = [Standing(each, _most(plan, each)) for each in plan.candidates]
        whole = build(plan.spec.workload, plan.spec.seed, plan.folder)
        self.whole = Load(WHOLE, whole)
        search = plan.spec.search
        self.slice = Load(SLICE, busiest(whole, max(1, round(len(whole) * search.slice))))
        self.probe = Load(PROBE, busiest(whole, search.probe))
        keys = ContentKeys(plan.folder, exact_steps=False)
        asked = repr(plan.requirements)
        self._keys = {
            each.name: keys.key(Variant("plan", each.config, "plan", {"requirements": asked}))
            for each in plan.candidates
        }

    def run(self) -> None:
        """Run all rounds; afterwards the standings that are not ``out`` have a finding for the whole load."""
        for each in self.standings:
            each.out = self._beyond(each)
        if self.probe.rate is not None:
            if self.plan.spec.search.method == "optuna":
                self._sample()
            else:
                self._probe([each for each in self.standings if not each.out])
            self._cut(PROBE)
        for load in (self.slice, self.whole):
            self._size([each for each in self.standings if not each.out], load)
            if load is self.slice:
                self._cut(SLICE)

    def ranked(self) -> list[Standing]:
        """Return the standings, best first: those sized on the whole load, then by how far they came."""
        return sorted(self.standings, key=self._rank)

    def units(self, standing: Standing) -> int | None:
        """Return how many units a candidate needs, estimated from its edge before it was sized; None: unknown."""
        return standing.units or self._estimate(standing, self.whole)

    @property
    def simulations(self) -> int:
        """How many simulations the plan rests on, those of an earlier start included."""
        return sum(len(self.journal.of(key)) for key in set(self._keys.values()))

    def value(self, standing: Standing) -> float:
        """Return the objective of what a candidate needs.

        Infinity where it cannot serve the load, or where its price or power is unknown.
        """
        units = self.units(standing)
        if units is None:
            return math.inf
        candidate, objective = standing.candidate, self.plan.spec.objective
        if objective == "gpus":
            return float(units * candidate.gpus)
        if objective == "cost":
            return math.inf if candidate.usd_per_hour is None else units * candidate.usd_per_hour
        found = next((each for each in reversed(standing.findings.values()) if each.units), None)
        power = (found or standing.findings[PROBE]).metrics.get("mean_power_w")
        return math.inf if power is None else float(power) * units / (found.units if found and found.units else 1)

    def tried(self, standing: Standing, load: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the sizes of a candidate that were simulated under a load, with their metrics."""
        prefix = f"{self._keys[standing.candidate.name]}/{load}/"
        for key, metrics in self.journal.of(prefix).items():
            yield int(key.removeprefix(prefix).partition("/")[0]), metrics

    def task(self, standing: Standing, load: Load, units: int | None) -> Task:
        """Return the task of examining a candidate, with what the journal knows of it."""
        key = self._keys[standing.candidate.name]
        rate = (self.whole.rate or 1.0) / 8
        imports = tuple(folder for folder in sys.path if folder == str(Path.cwd()))
        return Task(standing.candidate, load, self.plan.requirements, key, standing.most, units, rate,
                    self.journal.of(key), imports)  # fmt: skip

    def _probe(self, standings: Sequence[Standing]) -> None:
        groups: dict[str, list[Standing]] = {}
        for each in standings:
            groups.setdefault(each.candidate.alike, []).append(each)
        tasks = [self.task(members[0], self.probe, None) for members in groups.values()]
        for finding in self._examined(PROBE, tasks):
            for each in groups[finding.candidate.alike]:
                each.findings[PROBE] = finding
                each.out = _not_possible(finding)

    def _sample(self) -> None:
        spec = self.plan.spec
        # Candidates are in the order of a product over the axes: the last axis turns fastest.
        sizes = [len(values) for values in spec.space.values()]
        places = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]

        def probed(points: list[Point]) -> list[float]:
            picked = [self.standings[sum(map(mul, point, places))] for point in points]
            self._probe([each for each in picked if not each.out and PROBE not in each.findings])
            return [math.inf if each.out else self.value(each) for each in picked]

        sample(sizes, spec.search.trials, max(4, 2 * self.workers.count()), spec.seed, probed)
        for each in self.standings:
            if not each.out and not each.findings:
                each.out = "not among those that Optuna picked"

    def _size(self, standings: Sequence[Standing], load: Load) -> None:
        by_name = {each.candidate.name: each for each in standings}
        # The busiest stretch is denser than the load as a whole: a guess for it goes by its own rate.
        tasks = [self.task(each, load, each.units or self._estimate(each, load) or 1) for each in standings]
        for finding in self._examined(load.name, tasks):
            standing = by_name[finding.candidate.name]
            standing.findings[load.name] = finding
            standing.out = _not_possible(finding) if load.name == WHOLE or not finding.fits else ""
            power, most = finding.metrics.get("mean_power_w"), self.plan.spec.budget.power
            if load.name == WHOLE and not standing.out and most is not None and (power is None or power > most):
                drawn = "its power is unknown" if power is None else f"draws {power:.0f} W"
                standing.out = f"{drawn}; the budget is {most:.0f} W"

    def _examined(self, name: str, tasks: list[Task]) -> Iterator[Finding]:
        self.progress(name, 0, len(tasks))
        for done, finding in enumerate(self.workers.map(examine, tasks), 1):
            self.journal.add(finding.records)
            yield finding
            self.progress(name, done, len(tasks))

    def _cut(self, name: str) -> None:
        search = self.plan.spec.search
        running = sorted((each for each in self.standings if not each.out), key=self._rank)
        keep = max(search.finalists, math.ceil(len(running) * search.keep))
        if not running:
            return
        best = self.value(running[0])
        for place, each in enumerate(running[keep:], keep + 1):
            value = self.value(each)
            last = each.last
            if last is not None and last.reason:
                each.out = last.reason
            elif value == math.inf:
                each.out = f"its {_words(self.plan.spec.objective)} is unknown"
            else:
                behind = f"place {place} of {len(running)} after the {name} round"
                each.out = f"{behind}: about {self.shown(value)}, the best about {self.shown(best)}"

    def _rank(self, standing: Standing) -> tuple[Any, ...]:
        """Order by the round reached, whether it served the load there, the objective, the room below the limits."""
        found = standing.last
        served = found is not None and not found.reason
        excess = (
            max((each.excess(found.metrics) for each in self.plan.requirements), default=0.0) if found and served else 0
        )
        out_last = bool(standing.out) and WHOLE in standing.findings
        return (-len(standing.findings), out_last, not served, self.value(standing), excess, standing.candidate.name)

    def shown(self, value: float) -> str:
        """Return an objective's value with its unit."""
        if self.plan.spec.objective == "gpus":
            return f"{value:.0f} GPU" if value == 1 else f"{value:.0f} GPUs"
        return f"{value:.2f} USD/h" if self.plan.spec.objective == "cost" else f"{value:.0f} W"

    def _estimate(self, standing: Standing, load: Load) -> int | None:
        return None if standing.edge is None or load.rate is None else units_for(load.rate, standing.edge)

    def _beyond(self, standing: Standing) -> str:
        budget, candidate = self.plan.spec.budget, standing.candidate
        priced = self.plan.spec.objective == "cost" or budget.cost is not None
        if priced and candidate.usd_per_hour is None:
            return "its price is unknown: set it under 'prices'"
        return "" if standing.most >= 1 else f"one unit of it ({candidate.gpus} GPUs) is beyond the budget"


def _most(plan: LoadedPlan, candidate: Candidate) -> int:
    budget = plan.spec.budget
    most = budget.gpus // candidate.gpus
    if budget.cost is not None and candidate.usd_per_hour:
        most = min(most, math.floor(budget.cost / candidate.usd_per_hour + 1e-9))
    return most


def _not_possible(finding: Finding) -> str:
    return f"does not fit: {finding.reason}" if not finding.fits else finding.reason


def _words(objective: str) -> str:
    return {"cost": "price", "power": "power", "gpus": "size"}[objective]
