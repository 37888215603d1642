"""Faults of instances and their links: at given times, or at random by their mean time between failures."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from simulator.cluster.fleet import Fleet, State
from simulator.core import InputError, Streams
from simulator.core.units import PS_PER_S


@dataclass(frozen=True)
class Fault:
    """What goes wrong; times in ps.

    ``crash``: the engine is gone, and up again after ``lasts`` (None: never). ``slow``: iterations take ``factor``
    times as long for ``lasts``. ``link_loss``: nothing reaches the instance for ``lasts``; what it has, it serves on.
    ``spot``: the instance takes nothing more, is gone after ``grace``, and back ``lasts`` later (None: never).
    A crash comes at the end of the iteration in progress, whose tokens still count.
    """

    kind: Literal["crash", "slow", "link_loss", "spot"]
    lasts: int | None = None
    factor: float = 1.0
    grace: int = 0

    def __post_init__(self) -> None:
        if self.kind in ("slow", "link_loss") and self.lasts is None:
            raise InputError(f"a {self.kind} fault without an end", hint="say how long it lasts")
        if (self.kind == "slow") != (self.factor != 1.0) or not self.factor > 0:
            raise InputError(f"a {self.kind} fault with factor {self.factor}", hint="factor: above 1, for slow")
        if self.grace and self.kind != "spot":
            raise InputError(f"a {self.kind} fault with a grace period", hint="only spot has one")


@dataclass(frozen=True)
class FaultEvent:
    """A fault of one instance at a time in ps."""

    at: int
    instance: int
    fault: Fault


@dataclass(frozen=True)
class RandomFaults:
    """A fault that comes to each of some instances (None: all) ``mtbf`` seconds after the last on average (Poisson)."""

    fault: Fault
    mtbf: float
    instances: tuple[int, ...] | None = None


class Faults:
    """Lets faults happen to a fleet's instances while requests remain; each random process has a stream by instance."""

    def __init__(self, events: Sequence[FaultEvent] = (), random: Sequence[RandomFaults] = (), seed: int = 0) -> None:
        self._events, self._random, self._seed = events, random, seed
        self.happened = 0

    def start(self, fleet: Fleet) -> None:
        """Begin; InputError names an instance that there is not."""
        self._fleet = fleet
        count = len(fleet.cluster.instances)
        named = {event.instance for event in self._events}
        for process in self._random:
            named |= set(process.instances or ())
        if beyond := sorted(index for index in named if not 0 <= index < count):
            raise InputError(f"a fault of instance {beyond[0]}", hint=f"instances are numbered 0 to {count - 1}")
        mine = [instance.index for instance in fleet.instances]
        for event in (event for event in self._events if event.instance in mine):
            fleet.at(event.at, partial(self._happens, event.instance, event.fault))
        for number, process in enumerate(self._random):
            for index in mine if process.instances is None else (i for i in process.instances if i in mine):
                rng = Streams(self._seed).get(f"faults {number} of instance {index}")
                self._wait(index, process, rng, 0)

    def _wait(self, index: int, process: RandomFaults, rng: np.random.Generator, since: int) -> None:
        """Let the next fault of a process come; the one after is drawn then."""
        at = since + max(round(rng.exponential(process.mtbf) * PS_PER_S), 1)

        def comes() -> None:
            if not self._fleet.cluster.done:
                self._happens(index, process.fault)
                self._wait(index, process, rng, at)

        self._fleet.at(at, comes)

    def _happens(self, index: int, fault: Fault) -> None:
        fleet, now = self._fleet, self._fleet.cluster.clock.time
        if fleet.cluster.done or fleet.state[index] not in (State.SERVING, State.DRAINING):
            return
        self.happened += 1
        if fault.kind == "crash":
            fleet.fail(index, f"instance {index} crashed", fault.lasts, paid=True)
        elif fault.kind == "spot":
            fleet.leave(index)
            why = f"instance {index} was preempted"
            fleet.at(now + fault.grace, lambda: fleet.fail(index, why, fault.lasts, paid=False))
        elif fault.lasts is not None:
            end = now + fault.lasts
            if fault.kind == "slow":
                fleet.slow(index, fault.factor)
                fleet.at(end, lambda: fleet.slow(index, fault.factor, ends=True))
            else:
                fleet.reach(index, lost=True)
                fleet.at(end, lambda: fleet.reach(index, lost=False))
