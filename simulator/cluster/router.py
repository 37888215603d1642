"""What a router is: it hears of what was sent and what ended, and picks an instance for each request."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace

import numpy as np
from mypy_extensions import mypyc_attr

from simulator.core import Request
from simulator.engine.instance import Instance


@mypyc_attr(allow_interpreted_subclasses=True)
class Router(ABC):
    """Base of all routers. Before the first request, ``start`` tells how many instances there are.

    A choice may cost O(log instances) at most: routers keep what they compare, they don't look at every instance.
    """

    instances: int
    rng: np.random.Generator
    shut: frozenset[int]  # instances that are closed

    def start(self, instances: int, rng: np.random.Generator) -> None:
        """Begin with all instances idle; ``rng`` is this router's own random stream."""
        self.instances = instances
        self.rng = rng
        self.shut = frozenset()

    @abstractmethod
    def route(self, request: Request) -> int:
        """Return the index of the instance that takes a request."""

    def sent(self, index: int, request: Request) -> None:  # noqa: B027  (a router may ignore it)
        """Hear that a request was sent to an instance."""

    def ended(self, index: int, request: Request) -> None:  # noqa: B027
        """Hear that a request completed or failed there."""

    def queued(self, index: int, waiting: int) -> None:  # noqa: B027
        """Hear how many requests wait at an instance, whenever that changes; only if ``wants_queues``."""

    def moved(self, source: int, target: int, request: Request) -> None:
        """Hear that a request goes on at another instance: as if it had ended here and been sent there."""
        self.ended(source, request)
        self.sent(target, request)

    def watch(self, instances: Sequence[Instance]) -> None:  # noqa: B027
        """See the instances, after ``start``; for routers that look at them instead of counting."""

    def closed(self, index: int) -> None:
        """Hear that an instance takes no requests from now on: it is off, down or about to leave."""
        self.shut |= {index}

    def opened(self, index: int) -> None:
        """Hear that an instance that was closed takes requests again."""
        self.shut -= {index}

    @property
    def wants_queues(self) -> bool:
        """Whether ``queued`` should be called; a class that wants it says ``wants_queues = True``."""
        return False


class Least:
    """The instance with the smallest value, found and updated in O(log n); ties go to the one chosen longest ago.

    A closed instance keeps its value, but is chosen only where all are closed. An instance's key holds its value and,
    below it, when it was chosen last. With few instances, looking at all keys is cheapest; with more, they stand in a
    heap, where an entry counts only if it is its instance's latest key.
    """

    def __init__(self, instances: int) -> None:
        self._keys = list(range(instances))
        self._choices = instances
        self._heap = [(key, key) for key in self._keys] if instances > _FEW else None
        self._shut: set[int] = set()

    @property
    def values(self) -> list[int]:
        """The values of all instances; O(n)."""
        return [self.value(index) for index in range(len(self._keys))]

    def value(self, index: int) -> int:
        """Return an instance's value."""
        value = self._keys[index] >> _VALUE
        return value - _SHUT if index in self._shut else value

    def close(self, index: int) -> None:
        """Let an open instance be chosen no more."""
        self._shut.add(index)
        self.add(index, _SHUT)

    def open(self, index: int) -> None:
        """Let a closed instance be chosen again."""
        self._shut.remove(index)
        self.add(index, -_SHUT)

    def choose(self, change: int) -> int:
        """Return the instance with the smallest value and change that value; ties put it behind the others."""
        keys, heap = self._keys, self._heap
        if heap is None:
            key = min(keys)
            index = keys.index(key)
        else:
            key, index = heap[0]
            while keys[index] != key:
                heappop(heap)
                key, index = heap[0]
        self._choices = choices = self._choices + 1
        keys[index] = key = ((key >> _VALUE) + change << _VALUE) + choices
        if heap is not None:
            heapreplace(heap, (key, index))
        return index

    def set(self, index: int, value: int) -> None:
        """Set an instance's value."""
        self.add(index, value - self.value(index))

    def add(self, index: int, change: int) -> None:
        """Change an instance's value."""
        key = self._keys[index] = self._keys[index] + (change << _VALUE)
        if self._heap is not None:
            heappush(self._heap, (key, index))
            if len(self._heap) > 8 * len(self._keys) + 64:
                self._heap = [(key, index) for index, key in enumerate(self._keys)]
                heapify(self._heap)


@mypyc_attr(allow_interpreted_subclasses=True)
class ByLeast(Router):
    """Base of routers that pick the instance with the smallest of the values that they keep in ``_least``."""

    def start(self, instances: int, rng: np.random.Generator) -> None:
        """Begin with all instances idle."""
        super().start(instances, rng)
        self._least = Least(instances)

    def closed(self, index: int) -> None:
        """Choose an instance no more."""
        super().closed(index)
        self._least.close(index)

    def opened(self, index: int) -> None:
        """Choose an instance again."""
        super().opened(index)
        self._least.open(index)


_SHUT = 2**60  # more than any value
_FEW = 16  # looking at up to so many keys saves half of a heap's 120 instructions a request
_VALUE = 40  # bits below a value: as many choices a run may make
