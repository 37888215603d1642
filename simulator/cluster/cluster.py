"""A cluster: instances behind a router, fed by a workload."""

import gc
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from mypy_extensions import mypyc_attr

from simulator.cluster.follow_ups import FollowUps
from simulator.cluster.front import Front, RouterFront
from simulator.cluster.links import Network
from simulator.cluster.moves import Move
from simulator.cluster.router import Router
from simulator.cluster.source import ClosedLoop, OpenLoop, requests_of
from simulator.core import Request
from simulator.core.units import PS_PER_S
from simulator.cost.base import CostModel
from simulator.engine.clock import ARRIVE, Alarm, Clock
from simulator.engine.core import EngineCore
from simulator.engine.instance import Instance
from simulator.engine.ledger import Ledger
from simulator.workload.table import Workload


class Server(NamedTuple):
    """An engine and what its iterations cost: everything of an instance but the clock.

    ``admission_lag`` and ``intake_ps`` are an ``Instance``'s. ``fresh`` returns a new engine of the same kind that
    writes to a ledger, for when this one crashes or is turned off; None: it never does.
    """

    core: EngineCore
    cost: CostModel
    admission_lag: int = 0
    intake_ps: int = 0
    fresh: Callable[[Ledger], EngineCore] | None = None


@mypyc_attr(allow_interpreted_subclasses=True)
class Cluster:
    """Runs a workload to its end.

    ``requests`` are those sent so far, in the order they were sent. ``progress`` (optional) hears simulated seconds and
    requests ended, every ``_REPORT`` of them. ``router``: picks an instance for each request, or a ``Front`` that does
    more than that. ``rng``: the random stream of either. ``moves``: KV that went from one instance to another.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        router: Router | Front,
        workload: Workload,
        rng: np.random.Generator,
        *,
        exact_steps: bool = False,
        progress: Callable[[float, int], None] | None = None,
    ) -> None:
        self.clock = Clock()
        self.requests: list[Request] = []
        self.ended = 0
        self.network = Network(self.clock)
        self.moves: list[Move] = []
        self.rng = rng
        self._total = len(workload)
        self.front = router if isinstance(router, Front) else RouterFront(router)
        self.servers = servers = self.front.equip(servers)
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
        self.front.start(self)
        self._progress = progress
        self._clients: ClosedLoop | None = None
        requests = requests_of(workload)
        self._follow_ups: FollowUps | None = None
        if workload.follow_ups is not None:
            self._follow_ups = FollowUps(self.clock, requests, self._send, self._failed)
            requests = self._follow_ups.first
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

    @property
    def done(self) -> bool:
        """Whether every request of the workload has ended."""
        return self.ended == self._total

    def every(self, period_ps: int, action: Callable[[int], None]) -> None:
        """Call an action with the time (ps) every ``period_ps``, as long as any request comes or has to end."""

        def again(now: int) -> None:
            if self.ended < self._total:
                alarm.set(now + period_ps, ARRIVE)
                action(now)

        alarm = Alarm(self.clock, again)
        alarm.set(self.clock.time + period_ps, ARRIVE)

    def soon(self, action: Callable[[], None]) -> None:
        """Call an action in a picosecond: the way to act on an instance while another one decides.

        Where both are between two iterations at that moment, it would else depend on who comes first.
        """
        Alarm(self.clock, lambda now: action()).set(self.clock.time + 1, ARRIVE)

    def _send(self, request: Request) -> None:
        self.requests.append(request)
        self.front.arrived(request)

    def _ended(self, instance: Instance, request: Request) -> None:
        if request.finished_at < 0:
            self.front.handed_over(instance, request)
            return
        self.front.ended(instance, request)
        self.ended += 1
        if self._progress is not None and self.ended % _REPORT == 0:
            self._progress(self.now_s, self.ended)
        over = self._follow_ups is None or self._follow_ups.ended(request)
        if self._clients is not None and over:
            self._clients.ended()

    def _failed(self, request: Request) -> None:
        """Count a request that was never sent, because the one before it failed."""
        self.requests.append(request)
        self.ended += 1


_REPORT = 500
