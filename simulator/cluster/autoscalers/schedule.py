"""A number of instances by the clock."""

from bisect import bisect_right

from typing_extensions import TypedDict

from simulator.cluster.autoscaler import Autoscaler
from simulator.cluster.fleet import Fleet
from simulator.cluster.registry import autoscaler
from simulator.core import InputError
from simulator.core.quantity import DurationOrZero
from simulator.core.units import PS_PER_S


class Step(TypedDict):
    """From ``at`` on, so many instances."""

    at: DurationOrZero
    instances: int


@autoscaler("schedule")
class Schedule(Autoscaler):
    """As many instances as a ``plan`` names for the time; after ``repeats_after`` (0s: never) it begins again."""

    def __init__(self, *, plan: list[Step], repeats_after: DurationOrZero = 0.0) -> None:
        self._times = [step["at"] for step in plan]
        self._numbers = [step["instances"] for step in plan]
        if not plan or self._times[0] != 0 or self._times != sorted(set(self._times)):
            raise InputError("a plan's steps must begin at 0 and rise", hint="plan: [{at: 0s, instances: 2}]")
        if repeats_after < 0 or 0 < repeats_after <= self._times[-1]:
            raise InputError(f"repeats_after is {repeats_after}", hint="later than the last step; 0: never")
        self._repeats_after = repeats_after

    def wanted(self, fleet: Fleet, now: int) -> int:
        """Return the number of the plan's step at a time."""
        seconds = now / PS_PER_S
        if self._repeats_after:
            seconds %= self._repeats_after
        return self._numbers[bisect_right(self._times, seconds) - 1]
