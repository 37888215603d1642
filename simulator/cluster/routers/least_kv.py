"""The instance whose unfinished requests brought the fewest prompt tokens."""

import numpy as np

from simulator.cluster.registry import router
from simulator.cluster.router import Least, Router
from simulator.core import Request


@router("least_kv")
class LeastKV(Router):
    """The instance with the fewest KV tokens committed to prompts of requests sent and not ended.

    What a router knows without asking: outputs are of unknown length and count nothing.
    """

    def start(self, instances: int, rng: np.random.Generator) -> None:
        """Begin with all instances idle."""
        super().start(instances, rng)
        self._least = Least(instances)

    def route(self, request: Request) -> int:
        """Return the instance with the smallest sum, and count the request there."""
        return self._least.choose(request.prompt_tokens)

    def ended(self, index: int, request: Request) -> None:
        """Count a request no more."""
        self._least.add(index, -request.prompt_tokens)
