"""Two tiers of instances: the first try of a request goes to the one, what follows it to the other."""

from collections.abc import Sequence

import numpy as np

from simulator.cluster.router import Router
from simulator.core import Request
from simulator.engine.instance import Instance


class Tiers(Router):
    """Requests that follow none go to ``first``'s instances, the others to ``second``'s; each has its own router."""

    def __init__(self, first: tuple[Router, Sequence[int]], second: tuple[Router, Sequence[int]]) -> None:
        self._tiers = (first, second)
        # Of each instance: its tier, and its number there.
        self._place = {
            index: (tier, number)
            for tier, (_, indices) in enumerate(self._tiers)
            for number, index in enumerate(indices)
        }

    @property
    def wants_queues(self) -> bool:  # type: ignore[override]
        """Whether one of the routers wants to hear of queues."""
        return any(router.wants_queues for router, _ in self._tiers)

    def start(self, instances: int, rng: np.random.Generator) -> None:
        """Begin with all instances idle."""
        super().start(instances, rng)
        for router, indices in self._tiers:
            router.start(len(indices), rng)

    def watch(self, instances: Sequence[Instance]) -> None:
        """See the instances, each router its own."""
        for router, indices in self._tiers:
            router.watch([instances[index] for index in indices])

    def route(self, request: Request) -> int:
        """Return the instance that a tier's router picks."""
        router, indices = self._tiers[request.after >= 0]
        return indices[router.route(request)]

    def sent(self, index: int, request: Request) -> None:
        """Tell the instance's router."""
        tier, number = self._place[index]
        self._tiers[tier][0].sent(number, request)

    def ended(self, index: int, request: Request) -> None:
        """Tell the instance's router."""
        tier, number = self._place[index]
        self._tiers[tier][0].ended(number, request)

    def queued(self, index: int, waiting: int) -> None:
        """Tell the instance's router."""
        router = self._tiers[self._place[index][0]][0]
        if router.wants_queues:
            router.queued(self._place[index][1], waiting)
