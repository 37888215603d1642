"""Waiting queues: in order of arrival, or by a key."""

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

from simulator.core import Request


class WaitingQueue(Protocol):
    """Requests waiting to run; ``push_front`` is for those that come back after a preemption."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Request]: ...

    def push(self, request: Request, /) -> None:
        """Add a request that arrived."""

    def push_front(self, request: Request, /) -> None:
        """Add a request that was running already."""

    def peek(self) -> Request:
        """Return the next request without taking it; IndexError when empty."""
        ...

    def pop(self) -> Request:
        """Take the next request; IndexError when empty."""
        ...


class ArrivalQueue(deque[Request]):
    """First come, first served; a preempted request goes before all others."""

    # The deque's own methods under the queue's names: they run at C speed, a hundred thousand times a second.
    push = deque.append
    push_front = deque.appendleft
    pop = deque.popleft

    def peek(self) -> Request:
        """Return the request that waits longest."""
        return self[0]


class KeyQueue:
    """Smallest key first, ties in order of arrival; a preempted request queues by its key as any other."""

    def __init__(self, key: Callable[[Request], Any]) -> None:
        self._key = key
        self._heap: list[tuple[Any, int, int, Request]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Request]:
        """Yield the requests, the next one first and the others in any order."""
        return (entry[3] for entry in self._heap)

    def push(self, request: Request) -> None:
        """Add a request by its key."""
        heappush(self._heap, (self._key(request), request.arrival, request.index, request))

    def push_front(self, request: Request) -> None:
        """Add a request by its key."""
        self.push(request)

    def peek(self) -> Request:
        """Return the request with the smallest key."""
        return self._heap[0][3]

    def pop(self) -> Request:
        """Take the request with the smallest key."""
        return heappop(self._heap)[3]

    def rekey(self) -> None:
        """Order the queue anew after keys changed; O(n)."""
        self._heap = [(self._key(entry[3]), *entry[1:]) for entry in self._heap]
        heapify(self._heap)
