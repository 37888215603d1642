"""What a router is: it hears of what was sent and what ended, and picks an instance for each request."""

from abc import ABC, abstractmethod
from heapq import heapify, heappop, heappush, heapreplace

import numpy as np

from simulator.core import Request


class Router(ABC):
    """Base of all routers. Before the first request, ``start`` tells how many instances there are.

    A choice may cost O(log instances) at most: routers keep what they compare, they don't look at every instance.
    """

    instances: int
    rng: np.random.Generator

    def start(self, instances: int, rng: np.random.Generator) -> None:
        """Begin with all instances idle; ``rng`` is this router's own random stream."""
        self.instances = instances
        self.rng = rng

    @abstractmethod
    def route(self, request: Request) -> int:
        """Return the index of the instance that takes a request."""

    def sent(self, index: int, request: Request) -> None:  # noqa: B027  (a router may ignore it)
        """Hear that a request was sent to an instance."""

    def ended(self, index: int, request: Request) -> None:  # noqa: B027
        """Hear that a request completed or failed there."""

    def queued(self, index: int, waiting: int) -> None:  # noqa: B027
        """Hear how many requests wait at an instance, whenever that changes; only if ``wants_queues``."""

    wants_queues = False


class Least:
    """The instance with the smallest value, found and updated in O(log n); ties go to the one chosen longest ago.

    A heap with stale entries: an entry counts only if it carries its instance's latest value and choice.
    """

    def __init__(self, instances: int) -> None:
        self.values = [0] * instances
        self._chosen = list(range(-instances, 0))
        self._choices = 0
        self._most_entries = 8 * instances + 64
        self._heap = [(0, chosen, index) for index, chosen in enumerate(self._chosen)]

    def choose(self, change: int) -> int:
        """Return the instance with the smallest value and change that value; ties put it behind the others."""
        heap, values, chosen = self._heap, self.values, self._chosen
        while True:
            value, when, index = heap[0]
            if values[index] == value and chosen[index] == when:
                break
            heappop(heap)
        self._choices += 1
        chosen[index] = self._choices
        values[index] = value = value + change
        heapreplace(heap, (value, self._choices, index))
        return index

    def set(self, index: int, value: int) -> None:
        """Set an instance's value."""
        self.add(index, value - self.values[index])

    def add(self, index: int, change: int) -> None:
        """Change an instance's value."""
        value = self.values[index] = self.values[index] + change
        heap = self._heap
        heappush(heap, (value, self._chosen[index], index))
        if len(heap) > self._most_entries:
            self._heap = [(v, c, i) for i, (v, c) in enumerate(zip(self.values, self._chosen, strict=True))]
            heapify(self._heap)
