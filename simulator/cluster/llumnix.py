"""Llumnix: requests that decode move from instances where memory is short to those with room.

Source: Sun et al., Llumnix: Dynamic Scheduling for Large Language Model Serving, OSDI 2024, and its artifact.
"""

from functools import partial
from typing import TYPE_CHECKING

from simulator.cluster.front import RouterFront
from simulator.cluster.migration import Copying, Migration
from simulator.cluster.router import Router
from simulator.cluster.virtual_usage import VirtualUsage
from simulator.core import InputError, Request
from simulator.engine.instance import Instance

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster


class Llumnix(RouterFront):
    """A router before instances, and a look at all of them every ``period`` ps that pairs the fullest with the freest.

    An instance with a freeness (``VirtualUsage.migration``) below ``threshold`` KV blocks a request sends one request
    to another above it: the least urgent one, of these the shortest. An instance takes part in one migration at a time.
    One that is closed has no freeness at all, so all that decode there leave.
    """

    def __init__(
        self, router: Router, copying: Copying, usage: VirtualUsage, *, period: int, threshold: float = 3.0
    ) -> None:
        if period <= 0:
            raise InputError(f"a migration period of {period} ps", hint="a time above 0")
        super().__init__(router)
        self.copying, self.usage = copying, usage
        self.period, self.threshold = period, threshold
        self.active: dict[Migration, None] = {}
        self._taking_part: set[int] = set()

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle."""
        super().start(cluster)
        for instance in self.instances:
            if not instance.core.scheduler.adopts:
                name = type(instance.core.scheduler).__name__
                raise InputError(f"scheduler {name} cannot go on with requests of another instance")
        self.usage.watch(cluster.instances)
        cluster.every(self.period, self._pair)

    def arrived(self, request: Request) -> None:
        """Send a request to the instance that the router picks."""
        index = self.router.route(request)
        self.router.sent(index, request)
        self.usage.sent(index, request)
        self.cluster.instances[index].submit(request)

    def ended(self, instance: Instance, request: Request) -> None:
        """Count a request no more."""
        super().ended(instance, request)
        self.usage.ended(instance.index, request)

    def _pair(self, now: int) -> None:
        """Pair the instances with the least room with those with the most."""
        usage, threshold = self.usage, self.threshold
        usage.draining = self.router.shut
        able = [each.index for each in self.instances if each.index not in self._taking_part]
        if not any(usage.may_be_below(index, threshold) and usage.migration(index) < threshold for index in able):
            return
        free = {index: usage.migration(index) for index in able}
        able.sort(key=free.__getitem__)
        sources = [index for index in able if free[index] < threshold]
        targets = [index for index in reversed(able) if free[index] > threshold]
        for source, target in zip(sources, targets, strict=False):
            self._taking_part |= {source, target}
            instances = self.cluster.instances[source], self.cluster.instances[target]
            instances[0].at_boundary(partial(self._migrate, *instances))

    def _migrate(self, source: Instance, target: Instance) -> None:
        """Choose who goes, between two iterations of the source."""
        most = target.core.most_tokens
        movable = [r for r in source.core.decodes if r.prompt_tokens + r.output_tokens <= most]
        if movable:
            request = min(movable, key=lambda r: (-r.priority, r.offset, r.index))
            self.active[Migration(self.cluster, self.copying, request, source, target, self._ended_migration)] = None
        else:
            self._taking_part -= {source.index, target.index}

    def _ended_migration(self, migration: Migration, moved: bool) -> None:
        source, target = migration.source.index, migration.target.index
        del self.active[migration]
        self._taking_part -= {source, target}
        if moved:
            self.router.moved(source, target, migration.request)
            self.usage.moved(source, target, migration.request)
