"""A cluster whose closed-loop clients run warm-ups first, as benchmark clients do."""

from collections.abc import Sequence
from itertools import islice

import numpy as np

from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.front import Front
from simulator.cluster.router import Router
from simulator.cluster.source import ClosedLoop, requests_of
from simulator.engine.ledger import Int, Ledger
from simulator.workload.table import Workload


class WarmCluster(Cluster):
    """Runs a closed loop's first ``warmups`` requests to their end, then all clients send again at once.

    ``measured_from`` is when that was, in ps; the requests from ``warmups`` on are those to measure.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        router: Router | Front,
        workload: Workload,
        rng: np.random.Generator,
        *,
        warmups: int,
    ) -> None:
        assert workload.closed_loop is not None or not warmups, "only a closed loop can be warmed up"
        super().__init__(servers, router, workload.take(np.arange(warmups)) if warmups else workload, rng)
        self._workload = workload
        self._warmups = warmups
        self.measured_from = 0

    def run(self) -> None:
        """Run the warm-ups, then the rest."""
        super().run()
        loop = self._workload.closed_loop
        if self._warmups and loop is not None:
            self.measured_from = self.clock.time
            rest = islice(requests_of(self._workload), self._warmups, None)
            self._clients = ClosedLoop(self.clock, rest, self._send, loop.concurrency, loop.think_ps)
            super().run()


class LedgerSince(Ledger):
    """What a ledger holds from a time in ps on, at which nothing was running."""

    def __init__(self, whole: Ledger, since: int) -> None:
        super().__init__()
        self.stalls = whole.stalls
        runs, spans = whole.runs(), whole.spans()
        later = runs[:, 0] >= since
        before = int(runs[~later, 3].sum())
        self._later_runs = runs[later]
        self._later_spans: Int = spans[spans[:, 1] >= before] - np.array([0, before, before, 0])

    def runs(self) -> Int:
        """Return the runs that began by then or later."""
        return self._later_runs

    def spans(self) -> Int:
        """Return the spans of these, their iterations numbered from 0 again."""
        return self._later_spans
