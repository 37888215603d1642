"""A cluster: instances behind a router, fed by a workload."""

import gc
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from simulator.cluster.router import Router
from simulator.cluster.source import ClosedLoop, OpenLoop, requests_of
from simulator.core import Request
from simulator.core.units import PS_PER_S
from simulator.cost.base import CostModel
from simulator.engine.clock import Clock
from simulator.engine.core import EngineCore
from simulator.engine.instance import Instance
from simulator.workload.table import Workload


class Server(NamedTuple):
    """An engine and what its iterations cost: everything of an instance but the clock.

    ``admission_lag`` and ``intake_ps`` are an ``Instance``'s.
    """

    core: EngineCore
    cost: CostModel
    admission_lag: int = 0
    intake_ps: int = 0


class Cluster:
    """Runs a workload to its end.

    ``requests`` are those sent so far, in the order they were sent. ``progress`` (optional) hears simulated seconds and
    requests ended, every ``_REPORT`` of them.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        router: Router,
        workload: Workload,
        rng: np.random.Generator,
        *,
        exact_steps: bool = False,
        progress: Callable[[float, int], None] | None = None,
    ) -> None:
        self.clock = Clock()
        self.requests: list[Request] = []
        self.ended = 0
        self.router = router
        router.start(len(servers), rng)
        self._hears_sent = type(router).sent is not Router.sent
        self.instances = [
            Instance(
                self.clock,
                index,
                server.core,
                server.cost,
                self._ended,
                exact_steps=exact_steps,
                admission_lag=server.admission_lag,
                intake_ps=server.intake_ps,
            )
            for index, server in enumerate(servers)
        ]
        if router.wants_queues:
            for instance in self.instances:
                instance.on_queue = self._queued
        self._progress = progress
        self._clients: ClosedLoop | None = None
        requests = requests_of(workload)
        if (loop := workload.closed_loop) is not None:
            self._clients = ClosedLoop(self.clock, requests, self._send, loop.concurrency, loop.think_ps)
        else:
            OpenLoop(self.clock, requests, self._send)

    def run(self) -> None:
        """Run until nothing is left to do; KeyboardInterrupt leaves what has finished in ``requests``."""
        # A run makes no garbage in cycles, but millions of live objects for the collector to walk again and again.
        collecting = gc.isenabled()
        gc.disable()
        try:
            self.clock.run()
        finally:
            if collecting:
                gc.enable()

    @property
    def now_s(self) -> float:
        """Simulated time in seconds."""
        return self.clock.time / PS_PER_S

    @property
    def events(self) -> int:
        """SimPy events so far."""
        return self.clock.events

    def _send(self, request: Request) -> None:
        index = self.router.route(request)
        if self._hears_sent:
            self.router.sent(index, request)
        self.requests.append(request)
        self.instances[index].submit(request)

    def _ended(self, instance: Instance, request: Request) -> None:
        self.router.ended(instance.index, request)
        self.ended += 1
        if self._progress is not None and self.ended % _REPORT == 0:
            self._progress(self.now_s, self.ended)
        if self._clients is not None:
            self._clients.ended()

    def _queued(self, instance: Instance, waiting: int) -> None:
        self.router.queued(instance.index, waiting)


_REPORT = 500
