"""Simulate one cluster under one load, and stop as soon as its objectives are out of reach."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simulator.cluster.cluster import Cluster
from simulator.core import PS_PER_S, Streams
from simulator.experiment.assemble import assemble
from simulator.experiment.costs import bill
from simulator.experiment.metrics import RequestTable, summarize
from simulator.experiment.planning.requirements import Requirement, allowed_misses
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.stack import Stack
from simulator.workload.table import Workload
from simulator.workload.transforms import scale_rate

# When to look whether objectives are out of reach, as shares of the requests: a look costs a pass over all of them.
_LOOKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)


@dataclass(frozen=True)
class Load:
    """What clusters are tried with, before techniques; ``name`` tells a plan's loads apart."""

    name: str
    workload: Workload

    @property
    def rate(self) -> float | None:
        """Requests per second on average, while they arrive; None in a closed loop, or if all come at once."""
        arrivals = self.workload.arrival_ps
        if self.workload.closed_loop is not None or len(arrivals) < 2 or arrivals[-1] == arrivals[0]:
            return None
        return (len(arrivals) - 1) / ((int(arrivals[-1]) - int(arrivals[0])) / PS_PER_S)

    def at(self, rate: float) -> "Load":
        """Return the same requests at another mean rate: all gaps longer or shorter by one factor."""
        assert self.rate is not None, "a closed loop has no rate"
        return replace(self, workload=scale_rate(self.workload, rate / self.rate))


def busiest(workload: Workload, requests: int) -> Workload:
    """Return the shortest stretch of so many consecutive requests, from its start; the first ones of a closed loop."""
    if requests >= len(workload):
        return workload
    arrivals = workload.arrival_ps
    spans = arrivals[requests - 1 :] - arrivals[: len(arrivals) - requests + 1]
    start = 0 if workload.closed_loop is not None else int(np.argmin(spans))
    part = workload.take(np.arange(start, start + requests))
    return replace(part, arrival_ps=part.arrival_ps - part.arrival_ps[0])


def measure(config: Experiment, load: Load, requirements: Sequence[Requirement]) -> dict[str, Any]:
    """Return the metrics of an experiment's cluster under a load, as in ``summary.json``, with ``mean_power_w``.

    A run that cannot meet its percentiles any more is cut short: ``stopped`` says after how many requests had ended
    (None: it ran to its end), and the metrics are those of what had completed.
    """
    workload = Stack(config).workload(load.workload)
    assembly = assemble(config, workload)
    # Half an answer of several requests says nothing of its latencies: such a run goes on to its end.
    stop = _OutOfReach(requirements if workload.follow_ups is None else (), len(workload))
    cluster = Cluster(assembly.servers, assembly.router, workload, Streams(config.seed).get("router"), progress=stop)
    stop.cluster = cluster
    stopped = None
    try:
        cluster.run()
    except _Stop:
        stopped = cluster.ended
    table = RequestTable.of(cluster.requests).answers()
    ledgers = [server.core.ledger for server in assembly.servers]
    metrics = summarize(table, ledgers, config.slo, assembly.gpus)
    duration = metrics["duration_s"]
    metrics |= bill(assembly.meters, ledgers, duration, int(table.output_tokens[table.completed].sum()))
    energy = metrics["energy_j"]
    return metrics | {
        "mean_power_w": energy / duration if energy is not None and duration else None,
        "stopped": stopped,
    }


class _Stop(Exception):
    pass


class _OutOfReach:
    """Hears a run's progress and ends it when more requests than allowed are beyond a limit."""

    def __init__(self, requirements: Sequence[Requirement], requests: int) -> None:
        self.cluster: Cluster | None = None
        self._bounds = allowed_misses(requirements, requests)
        self._looks = [share * requests for share in _LOOKS]

    def __call__(self, now_s: float, ended: int) -> None:
        if not self._bounds or not self._looks or ended < self._looks[0]:
            return
        self._looks = [look for look in self._looks if look > ended]
        assert self.cluster is not None
        table = RequestTable.of(self.cluster.requests)
        waiting = (table.first_token < 0) & ~table.failed
        waited = np.where(waiting, now_s * 1e3 - table.arrival / (PS_PER_S / 1e3), table.ttft_ms())
        spent = {"ttft": waited, "tpot": table.tpot_ms(), "e2el": table.e2el_ms()}
        if any(int((spent[name] > limit).sum()) > most for name, (limit, most) in self._bounds.items()):
            raise _Stop
