"""Prefill on some instances, decode on others, with a router before each: as DistServe and vLLM do it.

Sources: Zhong et al., DistServe, OSDI 2024; vLLM's disaggregated prefill.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simulator.cluster.front import Front
from simulator.cluster.handover import Handover
from simulator.cluster.router import Router
from simulator.core import InputError, Request
from simulator.engine.instance import Instance

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster


class Disaggregated(Front):
    """Routers before two pools: one picks where a prompt runs, the other where its output is made once it has.

    ``prefill``, ``decode``: indices of the instances of each pool. ``handover``: how KV goes from one to the other.
    """

    def __init__(
        self,
        prefill: Sequence[int],
        decode: Sequence[int],
        prefill_router: Router,
        decode_router: Router,
        handover: Handover,
    ) -> None:
        if not prefill or not decode:
            raise InputError("disaggregation needs prefill and decode instances", hint="give instances a role")
        self.prefill, self.decode = list(prefill), list(decode)
        self.prefill_router, self.decode_router = prefill_router, decode_router
        self.handover = handover
        self._prefill_slot = {index: slot for slot, index in enumerate(self.prefill)}
        self._decode_slot = {index: slot for slot, index in enumerate(self.decode)}

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle."""
        super().start(cluster)
        for router, pool in ((self.prefill_router, self.prefill), (self.decode_router, self.decode)):
            router.start(len(pool), self.stream)
            router.watch([cluster.instances[index] for index in pool])
            self._watch_queues(router, pool)
        self.handover.start(cluster, [cluster.instances[index] for index in self.decode], self._choose)

    def _watch_queues(self, router: Router, pool: Sequence[int]) -> None:
        if router.wants_queues:
            for slot, index in enumerate(pool):
                self.cluster.instances[index].on_queue = lambda _, waiting, slot=slot: router.queued(slot, waiting)

    def arrived(self, request: Request) -> None:
        """Send a request to a prefill instance, for its first token; one that no decode instance can hold fails."""
        slot = self.prefill_router.route(request)
        self.prefill_router.sent(slot, request)
        instance = self.cluster.instances[self.prefill[slot]]
        if not self.handover.refuses(request, instance):
            request.stop_at = 1
            instance.submit(request)

    def ended(self, instance: Instance, request: Request) -> None:
        """Tell the router of the pool where it ended."""
        if (slot := self._decode_slot.get(instance.index)) is None:
            self.prefill_router.ended(self._prefill_slot[instance.index], request)
        else:
            self.decode_router.ended(slot, request)

    def handed_over(self, instance: Instance, request: Request) -> None:
        """Look for a decode instance for a request that has its first token."""
        self.handover.take(instance, request)

    def _choose(self, instance: Instance, request: Request) -> None:
        self.prefill_router.ended(self._prefill_slot[instance.index], request)
        slot = self.decode_router.route(request)
        self.decode_router.sent(slot, request)
        self.handover.ask(request, instance, self.cluster.instances[self.decode[slot]])
