"""Moving decoding requests away from an instance that has notice to leave, with their KV."""

from functools import partial
from typing import TYPE_CHECKING

from simulator.cluster.migration import Copying, Migration
from simulator.core import Request
from simulator.core.units import PS_PER_S

if TYPE_CHECKING:
    from simulator.cluster.fleet import Fleet

_LOOK_EVERY = PS_PER_S // 20  # how often to look who has begun to decode meanwhile: Llumnix's migration period


class Evacuation:
    """Migrates a leaving instance's requests one after the other, those with the most KV first, until it is gone.

    The target is the open instance with the most free KV blocks. A request that did not get away is not tried again,
    and shares the fate of all that are on the instance when it goes.
    """

    def __init__(self, fleet: "Fleet", copying: Copying) -> None:
        self._fleet = fleet
        self._copying = copying
        self.moving: dict[int, Migration] = {}  # by source
        self._tried: dict[int, set[Request]] = {}

    def begin(self, index: int) -> None:
        """Hear that an instance is about to leave."""
        self._tried[index] = set()
        self._look(index)

    def forget(self, index: int) -> None:
        """Hear that an instance, or its links, are lost: call off what moves from it or to it."""
        for migration in list(self.moving.values()):
            if index in (migration.source.index, migration.target.index):
                stopped = migration.stopped
                migration.cancel()
                if stopped:
                    # Its KV is still where it came from.
                    migration.source.core.scheduler.adopt(migration.request)
                    migration.source.wake()

    def _look(self, index: int) -> None:
        fleet = self._fleet
        if index in fleet.leaving and not fleet.cluster.done:
            fleet.cluster.instances[index].at_boundary(partial(self._next, index))
            fleet.at(fleet.cluster.clock.time + _LOOK_EVERY, partial(self._look, index))

    def _next(self, index: int) -> None:
        """Start with the next request, between two iterations, if none is on its way."""
        fleet, source = self._fleet, self._fleet.cluster.instances[index]
        if index in self.moving or index not in fleet.leaving or fleet.unreachable[index] or not fleet.open:
            return
        candidates = [request for request in source.core.decodes if request not in self._tried[index]]
        if not candidates:
            return
        request = max(candidates, key=lambda each: (each.offset, -each.index))
        instances = [fleet.cluster.instances[each] for each in sorted(fleet.open)]
        target = max(instances, key=lambda each: each.core.kv.total - each.blocks_used())
        self._tried[index].add(request)
        if request.prompt_tokens + request.output_tokens <= target.core.most_tokens:
            migration = Migration(fleet.cluster, self._copying, request, source, target, self._ended)
            self.moving[index] = migration

    def _ended(self, migration: Migration, moved: bool) -> None:
        source = migration.source
        del self.moving[source.index]
        if moved:
            self._fleet.moved(source.index, migration.target.index, migration.request)
        source.at_boundary(partial(self._next, source.index))
