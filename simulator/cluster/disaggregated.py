"""Prefill on some instances, decode on others: a request's KV travels from one to the other after its first token.

Sources: Patel et al., Splitwise, ISCA 2024; Zhong et al., DistServe, OSDI 2024 (pulling, with back-pressure on the
memory of prefill instances); vLLM's disaggregated prefill.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from simulator.cluster.front import Front
from simulator.cluster.links import Transfer
from simulator.cluster.moves import Move
from simulator.cluster.router import Router
from simulator.cluster.topology import Topology
from simulator.core import InputError, Request
from simulator.core.units import PS_PER_S
from simulator.engine.instance import Instance

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster


@dataclass(frozen=True)
class KVShape:
    """The KV of one token: bytes over all layers and GPUs, and how many layers they are."""

    token_bytes: float
    layers: int


class _Waiting(NamedTuple):
    request: Request
    source: Instance
    since: int


class Disaggregated(Front):
    """Routers before two pools; KV moves when the decode instance has room, and fills memory at both ends meanwhile.

    ``prefill``, ``decode``: indices of the instances of each pool. ``transfer``: ``whole``, after the prompt; or
    ``layerwise``, as its layers are computed, so that only what the link could not carry meanwhile (at least the last
    layer) is left. ``mode``: ``push`` sends as soon as the KV blocks are free; ``pull`` also waits until the blocks of
    requests that wait for a slot there are less than ``backlog`` of all.
    """

    def __init__(
        self,
        prefill: Sequence[int],
        decode: Sequence[int],
        prefill_router: Router,
        decode_router: Router,
        topology: Topology,
        kv: KVShape,
        *,
        transfer: Literal["whole", "layerwise"] = "whole",
        mode: Literal["push", "pull"] = "push",
        backlog: float = 0.05,
    ) -> None:
        if not prefill or not decode:
            raise InputError("disaggregation needs prefill and decode instances", hint="give instances a role")
        self.prefill, self.decode = list(prefill), list(decode)
        self.prefill_router, self.decode_router = prefill_router, decode_router
        self.topology, self.kv = topology, kv
        self.layerwise, self.pulls, self.backlog = transfer == "layerwise", mode == "pull", backlog
        self._prefill_slot = {index: slot for slot, index in enumerate(self.prefill)}
        self._decode_slot = {index: slot for slot, index in enumerate(self.decode)}

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle."""
        super().start(cluster)
        self.prefill_router.start(len(self.prefill), cluster.rng)
        self.decode_router.start(len(self.decode), cluster.rng)
        self._watch_queues(self.prefill_router, self.prefill)
        self._watch_queues(self.decode_router, self.decode)
        cores = [cluster.instances[index].core for index in self.decode]
        for core in cores:
            if not core.scheduler.adopts:
                raise InputError(f"scheduler {type(core.scheduler).__name__} cannot decode what others prefilled")
        self._smallest = min(cores, key=lambda core: core.most_tokens)
        self._waiting: list[deque[_Waiting]] = [deque() for _ in self.decode]

    def _watch_queues(self, router: Router, pool: Sequence[int]) -> None:
        if router.wants_queues:
            for slot, index in enumerate(pool):
                self.cluster.instances[index].on_queue = lambda _, waiting, slot=slot: router.queued(slot, waiting)

    def arrived(self, request: Request) -> None:
        """Send a request to a prefill instance, for its first token; one that no decode instance can hold fails."""
        slot = self.prefill_router.route(request)
        self.prefill_router.sent(slot, request)
        instance = self.cluster.instances[self.prefill[slot]]
        if request.prompt_tokens + request.output_tokens > self._smallest.most_tokens:
            request.instance = instance.index
            request.failure = self._smallest.why_not(request)
            request.finished_at = self.cluster.clock.time
            instance.on_finish(instance, request)
            return
        request.stop_at = 1
        instance.submit(request)

    def ended(self, instance: Instance, request: Request) -> None:
        """Tell the router of the pool where it ended; memory may be free for those that wait."""
        if (slot := self._decode_slot.get(instance.index)) is None:
            self.prefill_router.ended(self._prefill_slot[instance.index], request)
            return
        self.decode_router.ended(slot, request)

    def handed_over(self, instance: Instance, request: Request) -> None:
        """Choose the decode instance of a request that has its first token, and queue its KV for it."""
        self.prefill_router.ended(self._prefill_slot[instance.index], request)
        slot = self.decode_router.route(request)
        self.decode_router.sent(slot, request)
        waiting = self._waiting[slot]
        waiting.append(_Waiting(request, instance, self.cluster.clock.time))
        if len(waiting) == 1:
            target = self.cluster.instances[self.decode[slot]]
            target.when_room(lambda: self._send(slot, target))

    def _send(self, slot: int, target: Instance) -> bool:
        """Start the transfers that a decode instance has room for, in order; return whether none is left waiting."""
        waiting, kv, now = self._waiting[slot], target.core.kv, self.cluster.clock.time
        while waiting:
            request, source, since = waiting[0]
            blocks = kv.blocks_for(request.computed)
            if blocks > kv.free or (self.pulls and self._backlogged(target)):
                return False
            waiting.popleft()
            kv.take(blocks)
            size = self.kv.token_bytes * request.computed
            path = self.topology.path(source.index, target.index)
            left = size
            if self.layerwise:
                carried = min(link.bandwidth for link in path) * (since - request.admitted_at) / PS_PER_S
                left = max(size - carried, size / self.kv.layers)
            move = Move("transfer", request.index, source.index, target.index, since, now, now, round(size), 0)
            self.cluster.network.send(path, left, partial(self._received, request, blocks, move))
        return True

    def _backlogged(self, target: Instance) -> bool:
        waiting = sum(request.blocks for request in target.core.scheduler.adopted)
        return waiting > 0 and waiting >= self.backlog * target.core.kv.total

    def _received(self, request: Request, blocks: int, move: Move, transfer: Transfer) -> None:
        """Free the KV at the prefill instance, and let the request go on decoding."""
        now, instances = self.cluster.clock.time, self.cluster.instances
        source, target = instances[move.source], instances[move.target]
        source.let_go(request)
        request.stop_at = request.output_tokens
        request.instance = target.index
        target.core.kv.adopt(request, blocks)
        target.core.scheduler.adopt(request)
        self.cluster.moves.append(move._replace(ended=now, stopped=now - move.asked))
        target.wake()
