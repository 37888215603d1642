"""Instances in groups, each behind a front of its own: one for each model, or one for each try of a cascade."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from simulator.cluster.front import Front, RouterFront
from simulator.cluster.router import Router
from simulator.core import Request
from simulator.engine.instance import Instance

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster, Server


class Among(Router):
    """A router that sees only some of a cluster's instances, ``members``, and numbers them from 0."""

    def __init__(self, router: Router, members: Sequence[int]) -> None:
        self._router = router
        self._members = members
        self._number = {index: number for number, index in enumerate(members)}

    @property
    def wants_queues(self) -> bool:
        """Whether the router wants to hear of queues."""
        return self._router.wants_queues

    def start(self, instances: int, rng: np.random.Generator) -> None:
        """Begin with all instances idle."""
        super().start(instances, rng)
        self._router.start(len(self._members), rng)

    def watch(self, instances: Sequence[Instance]) -> None:
        """Let the router see its instances."""
        self._router.watch([instances[index] for index in self._members])

    def route(self, request: Request) -> int:
        """Return the instance that the router picks."""
        return self._members[self._router.route(request)]

    def sent(self, index: int, request: Request) -> None:
        """Tell the router."""
        self._router.sent(self._number[index], request)

    def ended(self, index: int, request: Request) -> None:
        """Tell the router."""
        self._router.ended(self._number[index], request)

    def queued(self, index: int, waiting: int) -> None:
        """Tell the router."""
        self._router.queued(self._number[index], waiting)

    def moved(self, source: int, target: int, request: Request) -> None:
        """Tell the router."""
        self._router.moved(self._number[source], self._number[target], request)

    def closed(self, index: int) -> None:
        """Tell the router."""
        super().closed(index)
        self._router.closed(self._number[index])

    def opened(self, index: int) -> None:
        """Tell the router."""
        super().opened(index)
        self._router.opened(self._number[index])


class Divided(Front):
    """Leads each request to the front of its group, whose number ``group_of`` returns, and no request to another's.

    ``groups``: a front or router, and the instances that it has to itself. Each draws from a random stream of its own.
    """

    def __init__(
        self, groups: Sequence[tuple[Router | Front, Sequence[int]]], group_of: Callable[[Request], int]
    ) -> None:
        self.fronts: list[Front] = []
        for front, members in groups:
            made = front if isinstance(front, Front) else RouterFront(Among(front, members))
            made.members = members
            self.fronts.append(made)
        self._group_of = group_of

    def equip(self, servers: "Sequence[Server]") -> "Sequence[Server]":
        """Return the servers, each as the front of its group needs it."""
        for front in self.fronts:
            servers = front.equip(servers)
        return servers

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle."""
        super().start(cluster)
        for front, rng in zip(self.fronts, cluster.rng.spawn(len(self.fronts)), strict=True):
            front.rng = rng
            front.start(cluster)

    def arrived(self, request: Request) -> None:
        """Lead a request to the front of its group."""
        self.fronts[self._group_of(request)].arrived(request)

    def ended(self, instance: Instance, request: Request) -> None:
        """Tell the front of its group."""
        self.fronts[self._group_of(request)].ended(instance, request)

    def handed_over(self, instance: Instance, request: Request) -> None:
        """Tell the front of its group."""
        self.fronts[self._group_of(request)].handed_over(instance, request)
