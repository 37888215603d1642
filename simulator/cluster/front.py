"""What stands between the clients and the instances: where a request goes first, and what becomes of it then."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from mypy_extensions import mypyc_attr

from simulator.cluster.router import Router
from simulator.core import Request
from simulator.engine.instance import Instance

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster, Server


@mypyc_attr(allow_interpreted_subclasses=True)
class Front(ABC):
    """Base of all ways to lead requests through a cluster; ``start`` gives it the cluster before the first arrives.

    ``members``: the instances that it leads to, where others are there as well (``Divided``); None: all. ``rng``: the
    random stream that it and its routers draw from; None: the cluster's.
    """

    cluster: "Cluster"
    members: Sequence[int] | None = None
    rng: np.random.Generator | None = None

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle."""
        self.cluster = cluster

    @property
    def stream(self) -> np.random.Generator:
        """The random stream of this front and its routers."""
        return self.cluster.rng if self.rng is None else self.rng

    @property
    def instances(self) -> list[Instance]:
        """The instances that it leads requests to."""
        every = self.cluster.instances
        return every if self.members is None else [every[index] for index in self.members]

    def equip(self, servers: "Sequence[Server]") -> "Sequence[Server]":
        """Return the servers as this front needs them, before instances are made of them."""
        return servers

    @abstractmethod
    def arrived(self, request: Request) -> None:
        """Send a request that a client just sent somewhere."""

    @abstractmethod
    def ended(self, instance: Instance, request: Request) -> None:
        """Hear that a request made its last token at an instance, or failed there."""

    def handed_over(self, instance: Instance, request: Request) -> None:
        """Hear that a request made ``stop_at`` tokens at an instance, which holds its KV until it is released."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class RouterFront(Front):
    """A router before instances that each serve a request from its first to its last token."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self._hears_sent = type(router).sent is not Router.sent

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle."""
        super().start(cluster)
        self.router.start(len(cluster.instances), self.stream)
        self.router.watch(cluster.instances)
        if self.router.wants_queues:
            for instance in self.instances:
                instance.on_queue = self._queued

    def arrived(self, request: Request) -> None:
        """Send a request to the instance that the router picks."""
        index = self.router.route(request)
        if self._hears_sent:
            self.router.sent(index, request)
        self.cluster.instances[index].submit(request)

    def ended(self, instance: Instance, request: Request) -> None:
        """Tell the router."""
        self.router.ended(instance.index, request)

    def _queued(self, instance: Instance, waiting: int) -> None:
        self.router.queued(instance.index, waiting)
