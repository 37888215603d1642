"""What a worker does with one candidate: find its rate at the SLO edge, or the least of it that serves a load."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.core.errors import InputError
from simulator.experiment.planning.bisect import highest_rate, smallest
from simulator.experiment.planning.journal import Record
from simulator.experiment.planning.load_plan import Candidate
from simulator.experiment.planning.measure import Load, measure
from simulator.experiment.planning.requirements import Requirement, missed

_WIDEST = 64.0  # a rate so many times above or below the first guess is out of the search
_LEAST_RATE = 0.01  # requests a second: an objective missed there is missed by a request alone


@dataclass(frozen=True)
class Task:
    """A candidate to examine under a load.

    ``units`` guesses how many it needs (``most`` at most); None asks for one unit's ``rate`` at the SLO edge, which
    ``rate`` guesses. ``known`` are the simulations that were done before, by key.
    """

    candidate: Candidate
    load: Load
    requirements: tuple[Requirement, ...]
    key: str
    most: int
    units: int | None = None
    rate: float = 1.0
    known: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What came out for a candidate: ``units`` meet the load, or one unit's ``edge`` in requests a second.

    ``metrics`` are those at ``units``, at the edge, or at the most that was allowed. ``reason`` says why neither was
    found, empty otherwise; ``fits`` is false where no simulation could begin.
    """

    candidate: Candidate
    load: str
    metrics: dict[str, Any]
    records: list[Record]
    units: int | None = None
    edge: float | None = None
    reason: str = ""
    fits: bool = True


def examine(task: Task) -> Finding:
    """Return what a task asks for; a candidate that cannot be put together is a finding, too."""
    sys.path.extend(folder for folder in task.imports if folder not in sys.path)
    bench = _Bench(task)
    try:
        return bench.edge() if task.units is None else bench.size()
    except InputError as error:
        return Finding(task.candidate, task.load.name, {}, bench.new, reason=error.message, fits=False)


class _Bench:
    """Simulates a task's candidate at sizes and rates, each once."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.new: list[Record] = []
        self._known = dict(task.known)

    def at(self, units: int, load: Load) -> dict[str, Any]:
        """Return the metrics of so many units under a load."""
        rate = "" if load.rate is None else f"{load.rate:.6g}"
        key = f"{self.task.key}/{load.name}/{units}/{rate}"
        if key not in self._known:
            metrics = measure(self.task.candidate.sized(units), load, self.task.requirements)
            self._known[key] = metrics
            self.new.append(Record(key, metrics))
        return self._known[key]

    def meets(self, metrics: Mapping[str, Any]) -> bool:
        return not self.why_not(metrics)

    def why_not(self, metrics: Mapping[str, Any]) -> str:
        """Return what speaks against a cluster with these metrics, empty if it serves its load."""
        if metrics["failed"]:
            return f"{metrics['failed']} requests can never be served: too long for its memory or for the model"
        if worst := missed(self.task.requirements, metrics):
            text = worst[0].explain(metrics)
            return text if metrics["stopped"] is None else f"{text} (stopped after {metrics['stopped']} requests)"
        if metrics["stopped"] is not None:
            return f"too many requests beyond their limits after {metrics['stopped']} had ended"
        return ""

    def size(self) -> Finding:
        """Find the least number of units that serves the load."""
        task, load = self.task, self.task.load
        assert task.units is not None
        units = smallest(lambda count: self.meets(self.at(count, load)), task.units, task.most)
        metrics = self.at(units or task.most, load)
        reason = "" if units else f"with {_gpus(task)}, the most within budget: {self.why_not(metrics)}"
        return Finding(task.candidate, load.name, metrics, self.new, units, reason=reason)

    def edge(self) -> Finding:
        """Find the highest rate at which one unit serves the load's requests."""
        task = self.task
        least, most = max(task.rate / _WIDEST, _LEAST_RATE), max(task.rate * _WIDEST, _LEAST_RATE)

        def load_at(rate: float) -> Load:
            return task.load.at(rate)

        edge = highest_rate(lambda rate: self.meets(self.at(1, load_at(rate))), task.rate, least=least, most=most)
        metrics = self.at(1, load_at(edge or least))
        reason = "" if edge else f"even at {least:.2g} requests a second to one unit: {self.why_not(metrics)}"
        return Finding(task.candidate, task.load.name, metrics, self.new, edge=edge, reason=reason)


def _gpus(task: Task) -> str:
    count = task.most * task.candidate.gpus
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def units_for(rate: float, edge: float) -> int:
    """Return how many units a rate needs if each takes its share."""
    return max(1, math.ceil(rate / edge - 1e-9))
