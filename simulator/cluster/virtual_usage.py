"""How much room the requests of an instance have, by Llumnix's virtual usage.

Source: Sun et al., Llumnix, OSDI 2024, section 4.4: what decoding requests hold counts, and so does memory that nobody
holds yet but should be there: for the first in the queue, for urgent requests, and everything where an instance leaves.
"""

from collections.abc import Collection, Iterable, Sequence
from math import inf

from simulator.core import InputError, Request
from simulator.engine.instance import Instance


class VirtualUsage:
    """The freeness of instances: KV blocks that each running request could still have.

    ``urgent``: requests with this priority or a smaller number get headroom: ``headroom`` tokens of an instance that
    has one or more count as used. ``draining``: instances that are to become empty; they have no room at all.
    Requests must be counted as they come and go (``sent``, ``ended``, ``moved``).
    """

    def __init__(self, urgent: int | None = None, headroom: int = 0) -> None:
        if headroom < 0 or (headroom > 0 and urgent is None):
            raise InputError(
                f"headroom of {headroom} tokens, urgent is {urgent}", hint="tokens above 0, and for which priority"
            )
        self.urgent = urgent
        self.headroom = headroom
        self.draining: Collection[int] = ()

    def watch(self, instances: Sequence[Instance]) -> None:
        """Begin with all instances idle."""
        self._instances = instances
        self._present: list[dict[Request, None]] = [{} for _ in instances]
        self._urgent = [0] * len(instances)

    def sent(self, index: int, request: Request) -> None:
        """Count a request at an instance."""
        self._present[index][request] = None
        self._urgent[index] += self._is_urgent(request)

    def ended(self, index: int, request: Request) -> None:
        """Count a request no more."""
        del self._present[index][request]
        self._urgent[index] -= self._is_urgent(request)

    def moved(self, source: int, target: int, request: Request) -> None:
        """Count a request elsewhere."""
        self.ended(source, request)
        self.sent(target, request)

    def freest(self, order: Iterable[int]) -> int:
        """Return the instance with the largest ``dispatch`` freeness, of several the first in an order of all."""
        best = (-inf, -inf, -1)
        for most, place, index in sorted([(-self._at_most(index), -at, index) for at, index in enumerate(order)]):
            if -most < best[0]:
                break
            best = max(best, (self.dispatch(index), place, index))
        return best[2]

    def dispatch(self, index: int) -> float:
        """Return an instance's freeness to a new request: all that wait there count, with the memory they need."""
        return self._freeness(index, everybody=True)

    def migration(self, index: int) -> float:
        """Return an instance's freeness to those that run: only the first that waits counts, for which room is made."""
        return self._freeness(index, everybody=False)

    def may_be_below(self, index: int, freeness: float) -> bool:
        """Tell, for little, whether an instance's ``migration`` freeness could be below a value."""
        instance, requests = self._instances[index], max(len(self._present[index]), 1)
        kv, scheduler = instance.core.kv, instance.core.scheduler
        if index in self.draining or self._urgent[index] or scheduler.queue or instance.coming:
            return True
        if scheduler.promised(kv.used):
            return True
        # No request opens more than one block every block_size iterations.
        return kv.free / requests - (instance.iterations_at_most() // kv.block_size + 1) < freeness

    def mean(self) -> float:
        """Return the mean freeness (for migration) of the instances that are not draining; infinite without one."""
        values = [self.migration(index) for index in range(len(self._instances)) if index not in self.draining]
        return sum(values) / len(values) if values else inf

    def _is_urgent(self, request: Request) -> bool:
        return self.urgent is not None and request.priority <= self.urgent

    def _at_most(self, index: int) -> float:
        """Return a bound on an instance's freeness that costs little: blocks of the run in progress are left out."""
        return self._instances[index].core.kv.free / max(len(self._present[index]), 1)

    def _freeness(self, index: int, *, everybody: bool) -> float:
        if index in self.draining:
            return -inf
        instance = self._instances[index]
        kv = instance.core.kv
        used = instance.blocks_used()
        free = kv.total - used - instance.core.scheduler.promised(used)
        if self._urgent[index]:
            free -= kv.blocks_for(self.headroom)
        requests = len(self._present[index])
        if waiting := self._waiting(index):
            if everybody:
                free -= sum(kv.blocks_for(request.tokens) for request in waiting)
            else:
                free -= kv.blocks_for(waiting[0].tokens)
                requests -= len(waiting) - 1
        return free / max(requests, 1)

    def _waiting(self, index: int) -> Sequence[Request]:
        """Return the requests that wait at an instance, the first one first.

        Policies that cannot go on with others' requests have queues of any kind: there, those wait that never ran.
        """
        instance = self._instances[index]
        queue, coming = instance.core.scheduler.queue, instance.coming
        if not (len(queue) or coming):
            return ()
        if instance.core.scheduler.adopts:
            return [*queue, *coming]  # type: ignore[misc]
        return [request for request in self._present[index] if request.admitted_at < 0]
