"""The instance with the most free memory for each of its requests."""

from collections.abc import Sequence

from simulator.cluster.registry import router
from simulator.cluster.router import Router
from simulator.cluster.virtual_usage import VirtualUsage
from simulator.core import Request
from simulator.engine.instance import Instance


@router("freeness")
class Freeness(Router):
    """The instance with the most KV blocks free for each of its requests, after all that wait there have theirs.

    Llumnix's dispatch (OSDI 2024), and that of INFaaS++, its baseline without migration. Ties go to the instance chosen
    longest ago, closed instances take nothing. ``headroom``: KV tokens that count as used where a request with priority
    ``urgent`` (or a smaller number) is. It asks every instance, so a choice takes time in proportion to their number.
    """

    def __init__(self, *, urgent: int | None = None, headroom: int = 0) -> None:
        self.usage = VirtualUsage(urgent, headroom)

    def watch(self, instances: Sequence[Instance]) -> None:
        """See the instances."""
        self.usage.watch(instances)
        self._order = list(range(len(instances)))  # the one chosen longest ago first

    def route(self, request: Request) -> int:
        """Return the freest instance."""
        self.usage.draining = self.shut
        index = self.usage.freest(self._order)
        self._order.remove(index)
        self._order.append(index)
        return index

    def sent(self, index: int, request: Request) -> None:
        """Count a request."""
        self.usage.sent(index, request)

    def ended(self, index: int, request: Request) -> None:
        """Count a request no more."""
        self.usage.ended(index, request)
