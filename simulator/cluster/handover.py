"""KV handed from instance to instance: a request that made its first token at one goes on decoding at another.

Blocks at the target are taken before the first byte leaves, those at the source are freed after the last has come.
Sources: Patel et al., Splitwise, ISCA 2024 (layer-wise transfer); Zhong et al., DistServe, OSDI 2024 (pulling, with
back-pressure on the memory of prefill instances).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from mypy_extensions import mypyc_attr

from simulator.cluster.links import Transfer
from simulator.cluster.moves import Move
from simulator.cluster.topology import Topology
from simulator.core import InputError, Request
from simulator.core.units import PS_PER_S
from simulator.engine.clock import HAND_OVER, Alarm
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


class _Moving(NamedTuple):
    request: Request
    source: Instance
    target: Instance
    blocks: int
    asked: int
    started: int
    size: int


@mypyc_attr(allow_interpreted_subclasses=True)
class Handover:
    """Queues requests for a target each, first come, first served, and moves their KV as soon as it has room.

    ``transfer``: ``whole``, after the prompt; or ``layerwise``, as its layers are computed, so that only what the link
    alone could not carry meanwhile (at least the last layer) is left. ``mode``: ``push`` sends as soon as the KV blocks
    are free; ``pull`` also waits until the blocks of requests that come or wait for a slot there are less than
    ``backlog`` of all.
    """

    def __init__(
        self,
        topology: Topology,
        kv: KVShape,
        *,
        transfer: Literal["whole", "layerwise"] = "whole",
        mode: Literal["push", "pull"] = "push",
        backlog: float = 0.05,
    ) -> None:
        self.topology, self.kv = topology, kv
        self.layerwise, self.pulls, self.backlog = transfer == "layerwise", mode == "pull", backlog
        # What else a target asks before it takes a request; while nobody finishes there, a no must stay a no.
        self.admits: Callable[[Instance, Request], bool] | None = None

    def start(self, cluster: "Cluster", targets: list[Instance], choose: Callable[[Instance, Request], None]) -> None:
        """Begin with all instances idle; InputError if one of the targets cannot go on with others' requests.

        ``choose`` hears of every request that ``take`` got, and from which instance, to ``ask`` for a target.
        """
        self.cluster = cluster
        self._choose = choose
        self._taken: list[tuple[int, Request, Instance]] = []
        self._alarm = Alarm(cluster.clock, self._choose_all)
        for instance in targets:
            if not instance.core.scheduler.adopts:
                name = type(instance.core.scheduler).__name__
                raise InputError(f"scheduler {name} cannot decode what others prefilled", hint="scheduler: vllm")
        self._smallest = min((instance.core for instance in targets), key=lambda core: core.most_tokens)
        # On their way to each target, with the blocks that they have there already.
        self.moving: dict[int, dict[Request, int]] = {instance.index: {} for instance in targets}
        self._waiting: dict[int, deque[_Waiting]] = {instance.index: deque() for instance in targets}

    def refuses(self, request: Request, instance: Instance) -> bool:
        """Let a request fail at an instance, and say so, if some target could not hold it to its end."""
        if request.prompt_tokens + request.output_tokens <= self._smallest.most_tokens:
            return False
        request.instance = instance.index
        request.failure = self._smallest.why_not(request)
        request.finished_at = self.cluster.clock.time
        instance.on_finish(instance, request)
        return True

    def take(self, instance: Instance, request: Request) -> None:
        """Take over a request that made its first token; of several at one moment, in whatever order instances end."""
        self._taken.append((request.index, request, instance))
        if len(self._taken) == 1:
            self._alarm.set(self.cluster.clock.time, HAND_OVER)

    def _choose_all(self, now: int) -> None:
        taken = sorted(self._taken)
        self._taken.clear()
        for _, request, instance in taken:
            self._choose(instance, request)

    def ask(self, request: Request, source: Instance, target: Instance) -> None:
        """Move a request that was handed over at the source as soon as the target has room for its KV."""
        waiting = self._waiting[target.index]
        waiting.append(_Waiting(request, source, self.cluster.clock.time))
        if len(waiting) == 1:
            target.when_room(partial(self._send, waiting, target))

    def has_room(self, target: Instance, request: Request) -> bool:
        """Tell whether a target takes a request now: its KV fits and, pulling, few others wait there for a slot."""
        kv = target.core.kv
        if kv.blocks_for(request.computed) > kv.free or (self.pulls and self._backlogged(target)):
            return False
        return self.admits is None or self.admits(target, request)

    def _send(self, waiting: deque[_Waiting], target: Instance) -> bool:
        """Start the transfers that a target has room for, in order; return whether none is left waiting."""
        kv, now = target.core.kv, self.cluster.clock.time
        while waiting:
            request, source, since = waiting[0]
            if not self.has_room(target, request):
                return False
            waiting.popleft()
            blocks = kv.blocks_for(request.computed)
            kv.take(blocks)
            self.moving[target.index][request] = blocks
            left = size = self.kv.token_bytes * request.computed
            path = self.topology.path(source.index, target.index)
            if self.layerwise:
                carried = min(link.bandwidth for link in path) * (since - request.admitted_at) / PS_PER_S
                left = max(size - carried, size / self.kv.layers)
            moving = _Moving(request, source, target, blocks, since, now, round(size))
            self.cluster.network.send(path, left, partial(self._received, moving))
        return True

    def _backlogged(self, target: Instance) -> bool:
        waiting = sum(request.blocks for request in target.core.scheduler.adopted)
        waiting += sum(self.moving[target.index].values())
        return waiting > 0 and waiting >= self.backlog * target.core.kv.total

    def _received(self, moving: _Moving, transfer: Transfer) -> None:
        """Free the KV at the source, and let the request go on decoding."""
        request, source, target, blocks, asked, started, size = moving
        now = self.cluster.clock.time
        del self.moving[target.index][request]
        source.let_go(request)
        request.stop_at = request.output_tokens
        request.instance = target.index
        target.core.kv.adopt(request, blocks)
        target.core.scheduler.adopt(request)
        self.cluster.moves.append(
            Move("transfer", request.index, source.index, target.index, asked, started, now, size, now - asked)
        )
        target.wake()
