"""Instances that come and go behind a router: started, drained, crashed, out of reach. No request is lost sight of."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from simulator.cluster.evacuation import Evacuation
from simulator.cluster.front import Front
from simulator.cluster.migration import Copying
from simulator.cluster.router import Router
from simulator.cluster.slowed import Slowed
from simulator.core import InputError, Request
from simulator.cost.base import CostModel
from simulator.engine.clock import ARRIVE, Alarm
from simulator.engine.instance import Instance

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster


class State(Enum):
    """What an instance is doing."""

    OFF = "off"  # costs nothing, and could be started
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"  # ends what it has, then it is off
    FAILING = "failing"  # ends the iteration in progress, then its engine is gone
    RESTARTING = "restarting"  # gone and still paid for, until its engine is up again
    DOWN = "down"  # gone, and not paid for


@dataclass(frozen=True)
class Loss:
    """What becomes of requests on an instance that is lost.

    ``retry``: all over again on another one, after their tokens were thrown away; ``resume``: elsewhere after their
    prompt and the tokens made so far were computed again; ``migrate``: as ``resume``, but those that decode leave with
    their KV where there is notice (``copying``: over which links); ``fail``. ``retries``: how often a request may be
    lost before it fails; None: any number. ``noticed_after``: ps until lost requests are sent on.
    """

    in_flight: Literal["retry", "resume", "migrate", "fail"] = "resume"
    retries: int | None = None
    noticed_after: int = 0
    copying: Copying | None = None

    def __post_init__(self) -> None:
        if (self.in_flight == "migrate") != (self.copying is not None):
            raise InputError("requests that migrate need links, and others don't", hint="copying, for migrate only")


class Driver(Protocol):
    """What makes a fleet's instances come or go: faults, an autoscaler."""

    def start(self, fleet: "Fleet") -> None:
        """Begin, with the instances idle."""


class Fleet(Front):
    """A router that only sends to instances which serve and can be reached; requests for none of them wait here.

    ``initial``: how many of the instances serve at the beginning, the first ones; None: all. Others are off. A router
    that picks a closed instance all the same gets the next open one in its place.
    """

    def __init__(
        self, router: Router, loss: Loss | None = None, drivers: Sequence[Driver] = (), *, initial: int | None = None
    ) -> None:
        self.router = router
        self.loss = loss or Loss()
        self._drivers = drivers
        self._initial = initial
        self.held: deque[Request] = deque()  # for nobody yet
        self.spare: Callable[[], bool] = lambda: False  # whether somebody would start an instance that is off
        self.heard: list[Callable[[Request], None]] = []  # told of each request that ended

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle; InputError where one that may be lost cannot be made anew."""
        super().start(cluster)
        count = len(cluster.instances)
        if any(cluster.servers[instance.index].fresh is None for instance in self.instances):
            raise InputError("an instance that comes and goes needs a way to make its engine anew (Server.fresh)")
        if self.loss.in_flight in ("resume", "migrate"):
            for instance in self.instances:
                if not instance.core.scheduler.recomputes:
                    name = type(instance.core.scheduler).__name__
                    raise InputError(f"scheduler {name} cannot resume a request", hint="in_flight: retry, or fail")
        self.present: list[dict[Request, None]] = [{} for _ in range(count)]
        self.state = [State.SERVING] * count
        self.unreachable = [0] * count  # how many faults of its links last
        self.leaving: set[int] = set()  # with notice: they take nothing any more
        mine = [instance.index for instance in self.instances]
        self.open = set(mine)
        self.missing: dict[Request, None] = {}  # lost, which nobody has noticed yet
        self.lost: dict[Request, int] = {}  # how often each was
        self._starts = [0] * count  # how often each was started
        self._returning: set[int] = set()  # lost, and will be back at a time known already
        self._slow: list[list[float]] = [[] for _ in range(count)]  # factors that hold now
        self._up_since = [0] * count
        self._up: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        self.evacuation = Evacuation(self, self.loss.copying) if self.loss.copying else None
        self.router.start(count, self.stream)
        self.router.watch(cluster.instances)
        if self.router.wants_queues:
            for instance in self.instances:
                instance.on_queue = lambda at, waiting: self.router.queued(at.index, waiting)
        for index in mine[len(mine) if self._initial is None else self._initial :]:
            self._enter(index, State.OFF)
        for driver in self._drivers:
            driver.start(self)

    # Requests

    def arrived(self, request: Request) -> None:
        """Send a request to the instance that the router picks, or keep it until there is one."""
        if not self.open:
            self.held.append(request)
            self._give_up_hope()
            return
        index = self.router.route(request)
        while index not in self.open:
            index = (index + 1) % len(self.state)
        self.router.sent(index, request)
        self.present[index][request] = None
        self.cluster.instances[index].submit(request)

    def ended(self, instance: Instance, request: Request) -> None:
        """Tell the router; an instance that drains is off with its last request."""
        index = instance.index
        if request in self.present[index]:  # else it failed here, waiting for any
            del self.present[index][request]
            self.router.ended(index, request)
        for hear in self.heard:
            hear(request)
        if self.state[index] is State.DRAINING and not self.present[index]:
            self._enter(index, State.OFF)
            self._renew(index)

    def moved(self, source: int, target: int, request: Request) -> None:
        """Hear that a request goes on elsewhere with its KV."""
        del self.present[source][request]
        self.present[target][request] = None
        self.router.moved(source, target, request)

    # Instances

    def start_one(self, index: int, after: int) -> None:
        """Let an instance that is off or down serve after so many ps; it counts as up from now on."""
        self._enter(index, State.STARTING)
        self._starts[index] = number = self._starts[index] + 1
        self.at(self.cluster.clock.time + after, lambda: self._started(index, number))

    def drain(self, index: int) -> None:
        """Let an instance that serves or starts take nothing more, and be off when it is empty."""
        self._enter(index, State.DRAINING if self.present[index] else State.OFF)

    def undrain(self, index: int) -> None:
        """Let an instance that drains serve on."""
        self._enter(index, State.SERVING)

    def fail(self, index: int, why: str, back_after: int | None, *, paid: bool) -> None:
        """Lose an instance at the end of the iteration in progress; it serves again after so many ps (None: never).

        ``paid``: whether it is paid for until then. Nothing happens if it does not serve or drain.
        """
        if self.state[index] not in (State.SERVING, State.DRAINING):
            self.leaving.discard(index)
            self._open_or_close(index)
            return
        if self.evacuation:
            self.evacuation.forget(index)
        if back_after is not None:
            self._returning.add(index)
        after = State.RESTARTING if paid and back_after is not None else State.DOWN
        self._enter(index, State.FAILING)
        self.cluster.instances[index].at_boundary(partial(self._down, index, why, back_after, after))

    def leave(self, index: int) -> None:
        """Hear that an instance will be lost: it takes nothing more, and its requests may move away."""
        if self.state[index] is State.SERVING:
            self.leaving.add(index)
            self._open_or_close(index)
            if self.evacuation:
                self.evacuation.begin(index)

    def reach(self, index: int, *, lost: bool) -> None:
        """Hear that an instance's links were lost, or are back."""
        self.unreachable[index] += 1 if lost else -1
        if lost and self.evacuation:
            self.evacuation.forget(index)
        self._open_or_close(index)

    def slow(self, index: int, factor: float, *, ends: bool = False) -> None:
        """Let an instance's iterations take ``factor`` times as long, or no longer so, from the next one on."""
        if ends:
            self._slow[index].remove(factor)
        else:
            self._slow[index].append(factor)
        instance = self.cluster.instances[index]
        instance.at_boundary(lambda: instance.go_on(instance.core, self._cost(index)))

    def at(self, time: int, action: Callable[[], None]) -> None:
        """Do something at a time in ps, before iterations end then."""
        Alarm(self.cluster.clock, lambda _: action()).set(time, ARRIVE)

    # What autoscalers look at

    def those(self, *states: State) -> list[int]:
        """Return the instances in one of some states, in order."""
        mine = range(len(self.state)) if self.members is None else self.members
        return [index for index in mine if self.state[index] in states]

    def waiting(self) -> int:
        """Return how many requests wait, at instances that serve and for any."""
        cores = [self.cluster.instances[index] for index in self.those(State.SERVING)]
        return len(self.held) + sum(len(each.core.scheduler.queue) + len(each.coming) for each in cores)

    def up_ps(self, index: int, since: int, until: int) -> int:
        """Return for how much of the time from ``since`` to ``until`` an instance was paid: not off, not taken away."""
        spans = [*self._up[index], (self._up_since[index], until)] if self._is_up(index) else self._up[index]
        return sum(max(min(end, until) - max(begin, since), 0) for begin, end in spans)

    # Inside

    def _is_up(self, index: int) -> bool:
        return self.state[index] not in (State.OFF, State.DOWN)

    def _enter(self, index: int, state: State) -> None:
        now, was_up = self.cluster.clock.time, self._is_up(index)
        self.state[index] = state
        if self._is_up(index) != was_up:
            if was_up:
                self._up[index].append((self._up_since[index], now))
            self._up_since[index] = now
        self._open_or_close(index)

    def _open_or_close(self, index: int) -> None:
        opens = self.state[index] is State.SERVING and not self.unreachable[index] and index not in self.leaving
        if opens == (index in self.open):
            return
        if opens:
            self.open.add(index)
            self.router.opened(index)
            for _ in range(len(self.held)):
                self.arrived(self.held.popleft())
        else:
            self.open.remove(index)
            self.router.closed(index)

    def _started(self, index: int, number: int) -> None:
        if self.state[index] is State.STARTING and self._starts[index] == number:
            self._enter(index, State.SERVING)

    def _cost(self, index: int) -> CostModel:
        factor = 1.0
        for each in self._slow[index]:
            factor *= each
        cost = self.cluster.servers[index].cost
        return Slowed(cost, factor) if factor != 1.0 else cost

    def _renew(self, index: int) -> None:
        """Put a new, empty engine in an instance's place, before its next decision."""
        instance, fresh = self.cluster.instances[index], self.cluster.servers[index].fresh
        assert fresh is not None
        instance.at_boundary(lambda: instance.go_on(fresh(instance.core.ledger), self._cost(index)))

    def _down(self, index: int, why: str, back_after: int | None, after: State) -> None:
        """Lose the engine, between two iterations; its requests are sent on later."""
        instance, fresh = self.cluster.instances[index], self.cluster.servers[index].fresh
        assert fresh is not None
        decodes, now = instance.core.decodes, self.cluster.clock.time
        lost, self.present[index] = self.present[index], {}
        self.missing |= lost
        for request in lost:
            if request in decodes:
                decodes.remove(request)
        instance.go_on(fresh(instance.core.ledger), self._cost(index))
        self.leaving.discard(index)
        self._enter(index, after)
        # Not at this very moment, at which other instances may or may not have decided already.
        self.at(now + max(self.loss.noticed_after, 1), lambda: self._send_on(index, why, lost))
        if back_after is not None:
            self.at(now + max(back_after, 1), lambda: self._back(index))

    def _back(self, index: int) -> None:
        self._returning.remove(index)
        self._enter(index, State.SERVING)

    def _send_on(self, index: int, why: str, requests: Collection[Request]) -> None:
        """Decide what becomes of those that were on an instance when it was lost."""
        loss = self.loss
        for request in requests:
            del self.missing[request]
            self.router.ended(index, request)
        for request in requests:
            request.computed = request.blocks = 0
            times = self.lost[request] = self.lost.get(request, 0) + 1
            if loss.in_flight == "fail" or (loss.retries is not None and times > loss.retries):
                self._fail(request, why)
                continue
            if loss.in_flight == "retry":
                request.generated = 0
                request.admitted_at = request.first_token_at = -1
            elif request.generated == request.output_tokens:
                request.generated -= 1  # all made, and not yet answered
            self.arrived(request)
        self._give_up_hope()

    def _fail(self, request: Request, why: str) -> None:
        request.failure = why
        request.finished_at = self.cluster.clock.time
        instance = self.cluster.instances[request.instance] if request.instance >= 0 else self.instances[0]
        instance.on_finish(instance, request)

    def _give_up_hope(self) -> None:
        """Fail all that wait for an instance if there will never be one."""
        if self.held and not (
            self.those(State.SERVING, State.STARTING, State.FAILING) or self._returning or self.spare()
        ):
            while self.held:
                self._fail(self.held.popleft(), "no instance is left, and none will come back")
