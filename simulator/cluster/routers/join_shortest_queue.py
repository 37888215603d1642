"""The instance with the shortest waiting queue."""

from simulator.cluster.registry import router
from simulator.cluster.router import ByLeast
from simulator.core import Request


@router("join_shortest_queue")
class JoinShortestQueue(ByLeast):
    """The instance with the fewest requests waiting (not running); ties go to the one chosen longest ago."""

    wants_queues = True

    def route(self, request: Request) -> int:
        """Return the instance with the shortest queue."""
        return self._least.choose(1)

    def queued(self, index: int, waiting: int) -> None:
        """Note how many wait at an instance."""
        self._least.set(index, waiting)
