"""The instance with the fewest unfinished requests."""

import numpy as np

from simulator.cluster.registry import router
from simulator.cluster.router import Least, Router
from simulator.core import Request


@router("least_outstanding")
class LeastOutstanding(Router):
    """The instance with the fewest requests sent and not ended; ties go to the one chosen longest ago."""

    def start(self, instances: int, rng: np.random.Generator) -> None:
        """Begin with all instances idle."""
        super().start(instances, rng)
        self._least = Least(instances)

    def route(self, request: Request) -> int:
        """Return the instance with the fewest, and count the request there."""
        return self._least.choose(1)

    def ended(self, index: int, request: Request) -> None:
        """Count a request no more."""
        self._least.add(index, -1)
