"""The instance with the fewest unfinished requests."""

from simulator.cluster.registry import router
from simulator.cluster.router import ByLeast
from simulator.core import Request


@router("least_outstanding")
class LeastOutstanding(ByLeast):
    """The instance with the fewest requests sent and not ended; ties go to the one chosen longest ago."""

    def route(self, request: Request) -> int:
        """Return the instance with the fewest, and count the request there."""
        return self._least.choose(1)

    def ended(self, index: int, request: Request) -> None:
        """Count a request no more."""
        self._least.add(index, -1)

    def moved(self, source: int, target: int, request: Request) -> None:
        """Count a request where it goes on."""
        self._least.add(source, -1)
        self._least.add(target, 1)
