"""What stands between the clients and the instances: where a request goes first, and what becomes of it then."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from simulator.cluster.router import Router
from simulator.core import Request
from simulator.engine.instance import Instance

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster, Server


class Front(ABC):
    """Base of all ways to lead requests through a cluster; ``start`` gives it the cluster before the first arrives."""

    cluster: "Cluster"

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle."""
        self.cluster = cluster

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


class RouterFront(Front):
    """A router before instances that each serve a request from its first to its last token."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self._hears_sent = type(router).sent is not Router.sent

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle."""
        super().start(cluster)
        self.router.start(len(cluster.instances), cluster.rng)
        self.router.watch(cluster.instances)
        if self.router.wants_queues:
            for instance in cluster.instances:
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
