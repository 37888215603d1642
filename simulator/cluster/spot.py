"""Pipelines on spot nodes, which leave with notice and come when there are some: what all systems for them share."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from simulator.cluster.front import Front
from simulator.cluster.links import Link, Transfer
from simulator.cluster.regroup import Kept
from simulator.cluster.reparallelise import Shape
from simulator.core import InputError, Request
from simulator.core.units import PS_PER_S
from simulator.cost.base import CostModel
from simulator.engine.clock import ARRIVE, Alarm
from simulator.engine.core import EngineCore
from simulator.engine.instance import Instance
from simulator.engine.ledger import Ledger

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster


class Change(NamedTuple):
    """A node that is there from a time (ps) on (``comes``), or has notice then that it will be taken away."""

    at: int
    node: int
    comes: bool


@dataclass(frozen=True)
class Layout:
    """A pipeline of some shape: what its iterations cost, and how to make its engine for batches of some size.

    ``first_ps``: the longest that an iteration of it takes, the prompts of a whole batch.
    """

    shape: Shape
    cost: CostModel
    fresh: Callable[[Ledger, int], EngineCore]
    first_ps: int = 0


@dataclass(frozen=True)
class Nodes:
    """What nodes are like: GPUs of each, and bytes a second in one direction: to other nodes, within, from storage."""

    gpus: int
    between: float
    within: float
    storage: float


class Spot(Front):
    """Pipelines on nodes that come and go. Instance n of the cluster is pipeline n, while there is one.

    ``initial``: nodes at the beginning, numbered from 0; ``changes`` in time, of nodes numbered in any way; ``grace``:
    ps from a node's notice to its end. Requests go to the open pipeline with the fewest, in the order of their arrival;
    they wait here while all have a batch that runs and another one, and fail once no pipeline can come any more.
    """

    def __init__(
        self, layouts: Iterable[Layout], nodes: Nodes, initial: int, changes: Sequence[Change], grace: int
    ) -> None:
        self.layouts: Mapping[Shape, Layout] = {layout.shape: layout for layout in layouts}
        self.nodes = nodes
        self.present = set(range(initial))
        self.leaving: dict[int, int] = {}  # nodes with notice, and when they go
        self.held: list[Request] = []  # for nobody yet; a heap
        self.open: dict[int, int] = {}  # with how many requests each may have
        self.restarted = 0  # requests that lost tokens or KV, each time
        self._changes, self._grace = changes, grace
        self._to_come = len(changes)
        self._paid: dict[int, int] = {}
        self._past: list[tuple[int, int]] = []  # from when to when nodes were there that are gone
        comes = [*range(initial), *(change.node for change in changes if change.comes)]
        if len(comes) > len(set(comes)):
            raise InputError("a node comes twice", hint="number them anew: a new one has no weights")

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle; InputError where their policy cannot take requests that moved."""
        super().start(cluster)
        self.serving: list[dict[Request, None]] = [{} for _ in cluster.instances]
        self._turns = [0] * len(cluster.instances)  # how often each was stopped or started
        for instance in cluster.instances:
            if not instance.core.scheduler.adopts:
                name = type(instance.core.scheduler).__name__
                raise InputError(f"scheduler {name} cannot go on with a request that moved", hint="whole_batches")
        self._ports: dict[int, tuple[Link, Link, Link, Link]] = {}
        self._paid = dict.fromkeys(self.present, 0)
        for change in self._changes:
            self.at(change.at, partial(self._come if change.comes else self._notice, change.node))

    @abstractmethod
    def changed(self) -> None:
        """Hear that a node came or has notice."""

    @abstractmethod
    def lost(self, node: int) -> None:
        """Hear that a node is gone."""

    @property
    def usable(self) -> list[int]:
        """The nodes that are there and have no notice."""
        return sorted(self.present - self.leaving.keys())

    def paid_ps(self, since: int, until: int) -> int:
        """Return for how long nodes were there within a span of time, added up."""
        spans = [*self._past, *((begin, until) for begin in self._paid.values())]
        return sum(max(min(end, until) - max(begin, since), 0) for begin, end in spans)

    # Requests

    def arrived(self, request: Request) -> None:
        """Send a request to the open pipeline with the fewest, or keep it until one has room."""
        heappush(self.held, request)
        self.flush()

    def ended(self, instance: Instance, request: Request) -> None:
        """Forget a request, and let one that waits have its place."""
        self.serving[instance.index].pop(request, None)
        if self.held:
            self.cluster.soon(self.flush)

    def again(self, request: Request, *, keeps_tokens: bool) -> None:
        """Let a request wait to be computed again, after the tokens it made or from its first one on."""
        request.computed = request.blocks = 0
        self.restarted += 1
        if not keeps_tokens:
            request.generated = 0
            request.admitted_at = request.first_token_at = -1
        heappush(self.held, request)

    def flush(self) -> None:
        """Send those that wait on, in the order in which they arrived, as far as there is room."""
        serving = self.serving
        while self.held:
            able = [slot for slot, most in self.open.items() if len(serving[slot]) < most]
            if not able:
                break
            slot = min(able, key=lambda each: (len(serving[each]), each))
            request = heappop(self.held)
            serving[slot][request] = None
            self.cluster.instances[slot].submit(request)
        self.give_up_hope()

    def give_up_hope(self) -> None:
        """Fail all that wait if there will never be a pipeline for them."""
        while self.held and not self.hope():
            request = heappop(self.held)
            request.failure = "no pipeline is left, and none will come"
            request.finished_at = self.cluster.clock.time
            instance = self.cluster.instances[max(request.instance, 0)]
            instance.on_finish(instance, request)

    def hope(self) -> bool:
        """Tell whether a pipeline may open some day."""
        return self._to_come > 0 or bool(self.leaving)

    # Pipelines

    def stop_slot(self, slot: int, then: Callable[[list[Kept], list[Request]], None]) -> None:
        """Close a pipeline and empty it where its iteration in progress ends.

        ``then`` hears who decoded, with KV, and who else was there, in the order of their arrival.
        """
        instance = self.cluster.instances[slot]
        self.open.pop(slot, None)
        self._turns[slot] += 1

        def stop() -> None:
            core, present = instance.core, self.serving[slot]
            kept = []
            for request in sorted([*core.decodes, *core.scheduler.adopted]):
                if request in core.decodes:
                    core.scheduler.withdraw(request)
                kept.append(Kept(request, core, core.kv.leave_behind(request)))
                del present[request]
            core.hear()
            others = sorted(present)
            present.clear()
            for request in others:
                if request.blocks:
                    core.kv.release(request)
            instance.go_on(next(iter(self.layouts.values())).fresh(core.ledger, 1), instance.cost)
            self.cluster.soon(lambda: then(kept, others))

        instance.at_boundary(stop)

    def start_slot(self, slot: int, shape: Shape, batch: int, adopted: Sequence[Request]) -> None:
        """Open a pipeline of a shape, which goes on with requests whose KV is there."""
        instance, layout = self.cluster.instances[slot], self.layouts[shape]
        self._turns[slot] = turn = self._turns[slot] + 1

        def start() -> None:
            core = layout.fresh(instance.core.ledger, batch)
            instance.go_on(core, layout.cost)
            for request in adopted:
                self.serving[slot][request] = None
                request.instance = slot
                blocks = core.kv.blocks_for(request.computed)
                core.kv.take(blocks)
                core.kv.adopt(request, blocks)
                core.scheduler.adopt(request)
            self.cluster.soon(opened)

        def opened() -> None:
            if self._turns[slot] == turn:
                self.open[slot] = 2 * batch
                # Once all that open at this moment have.
                self.cluster.soon(self.flush)

        instance.at_boundary(start)

    # Nodes

    def at(self, time: int, action: Callable[[], None]) -> Alarm:
        """Do something at a time in ps, before iterations end then; a later ``set`` moves it."""
        alarm = Alarm(self.cluster.clock, lambda _: action())
        alarm.set(time, ARRIVE)
        return alarm

    def send(self, source: int | None, target: int, size: float, done: Callable[[Transfer], None]) -> Transfer:
        """Let bytes travel from a node, or from storage, to a node."""
        return self.cluster.network.send(self._path(source, target), size, done)

    def longest_ps(self, sent: Mapping[tuple[int | None, int], float]) -> int:
        """Return how long the busiest port takes for bytes by source and target, in ps."""
        busy: dict[Link, float] = defaultdict(float)
        for (source, target), size in sent.items():
            for link in self._path(source, target):
                busy[link] += size / link.bandwidth
        return round(max(busy.values(), default=0.0) * PS_PER_S)

    def _path(self, source: int | None, target: int) -> list[Link]:
        _, into, within, storage = self._port(target)
        if source is None:
            return [storage]
        return [within] if source == target else [self._port(source)[0], into]

    def _port(self, node: int) -> tuple[Link, Link, Link, Link]:
        if node not in self._ports:
            speeds = {"out": self.nodes.between, "in": self.nodes.between, "within": self.nodes.within,
                      "from storage": self.nodes.storage}  # fmt: skip
            links = [Link(f"node {node}, {name}", speed) for name, speed in speeds.items()]
            self._ports[node] = (links[0], links[1], links[2], links[3])
        return self._ports[node]

    def _come(self, node: int) -> None:
        self._to_come -= 1
        if node not in self.present and not self.cluster.done:
            self.present.add(node)
            self._paid[node] = self.cluster.clock.time
            self.changed()
        self.give_up_hope()

    def _notice(self, node: int) -> None:
        self._to_come -= 1
        if node in self.present and node not in self.leaving and not self.cluster.done:
            self.leaving[node] = end = self.cluster.clock.time + self._grace
            self.at(end, partial(self._gone, node))
            self.changed()
        self.give_up_hope()

    def _gone(self, node: int) -> None:
        self.present.remove(node)
        del self.leaving[node]
        self._past.append((self._paid.pop(node), self.cluster.clock.time))
        if not self.cluster.done:
            self.lost(node)
        self.give_up_hope()
