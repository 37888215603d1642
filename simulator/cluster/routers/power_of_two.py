"""The less loaded of two random instances."""

from simulator.cluster.registry import router
from simulator.cluster.router import Router
from simulator.core import Request

_BATCH = 1024


@router("power_of_two")
class PowerOfTwo(Router):
    """Of two instances drawn at random, the one with fewer requests outstanding (Mitzenmacher, TPDS 2001)."""

    def __init__(self) -> None:
        self._drawn: list[list[int]] = []
        self._outstanding: dict[int, int] = {}

    def route(self, request: Request) -> int:
        """Return the less loaded of two random instances, which are the same one now and then."""
        if not self._drawn:
            self._drawn = self.rng.integers(self.instances, size=(_BATCH, 2)).tolist()
        first, second = self._drawn.pop()
        if self.shut:
            # Drawn again among those that are open: as if there were no others.
            drawn = [index for index in range(self.instances) if index not in self.shut] or range(self.instances)
            first, second = drawn[first % len(drawn)], drawn[second % len(drawn)]
        return second if self._outstanding.get(second, 0) < self._outstanding.get(first, 0) else first

    def sent(self, index: int, request: Request) -> None:
        """Count a request."""
        self._outstanding[index] = self._outstanding.get(index, 0) + 1

    def ended(self, index: int, request: Request) -> None:
        """Count a request no more."""
        self._outstanding[index] -= 1
