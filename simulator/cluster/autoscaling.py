"""Starting and stopping instances as load asks for it."""

from collections import deque

from simulator.cluster.autoscaler import Autoscaler
from simulator.cluster.fleet import Fleet, State
from simulator.core import InputError


class Scaling:
    """Asks a policy every ``period`` ps and starts or drains instances until there are as many as it wants.

    A started one serves after ``startup`` ps. Between ``least`` and ``most`` serve or start; fewer than now only once
    the policy has wanted no more for ``calm`` ps (Kubernetes' stabilization window). Those that drain are the first to
    come back, those that start the first to go; then the ones with the fewest requests drain.
    """

    def __init__(self, policy: Autoscaler, *, period: int, startup: int, least: int, most: int, calm: int) -> None:
        if not 1 <= least <= most:
            raise InputError(f"autoscaling between {least} and {most} instances", hint="1 <= min <= max")
        self.policy = policy
        self.period, self.startup, self.calm = period, startup, calm
        self.least, self.most = least, most
        self._wanted: deque[tuple[int, int]] = deque()  # what the policy wanted when, as far back as ``calm``

    def start(self, fleet: Fleet) -> None:
        """Begin; InputError if there are not as many instances."""
        if self.most > (count := len(fleet.instances)):
            raise InputError(f"autoscaling up to {self.most} of {count} instances", hint="a smaller max")
        self._fleet = fleet
        self.policy.start(fleet)
        fleet.heard.append(self.policy.ended)
        fleet.spare = lambda: bool(fleet.those(State.OFF, State.DRAINING))
        fleet.cluster.every(self.period, self._look)

    def _look(self, now: int) -> None:
        fleet, recent = self._fleet, self._wanted
        recent.append((now, min(max(self.policy.wanted(fleet, now), self.least), self.most)))
        while recent[0][0] < now - self.calm:
            recent.popleft()
        up = fleet.those(State.STARTING, State.SERVING, State.FAILING, State.RESTARTING)
        missing = recent[-1][1] - len(up)
        if missing > 0:
            self._add(missing)
        elif (spare := len(up) - max(number for _, number in recent)) > 0:
            self._remove(spare)

    def _add(self, count: int) -> None:
        fleet = self._fleet
        draining = fleet.those(State.DRAINING)[:count]
        for index in draining:
            fleet.undrain(index)
        for index in fleet.those(State.OFF)[: count - len(draining)]:
            fleet.start_one(index, self.startup)

    def _remove(self, count: int) -> None:
        fleet = self._fleet
        serving = sorted(fleet.those(State.SERVING), key=lambda index: (len(fleet.present[index]), -index))
        for index in (fleet.those(State.STARTING)[::-1] + serving)[:count]:
            fleet.drain(index)
