"""Waiting queues: in order of arrival, or by a key."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

from simulator.core import Request


class WaitingQueue(ABC):
    """Requests waiting to run; ``push_front`` is for those that come back after a preemption."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def push(self, request: Request) -> None:
        """Add a request that arrived."""

    @abstractmethod
    def push_front(self, request: Request) -> None:
        """Add a request that was running already."""

    @abstractmethod
    def peek(self) -> Request:
        """Return the next request without taking it; IndexError when empty."""

    @abstractmethod
    def pop(self) -> Request:
        """Take the next request; IndexError when empty."""


class ArrivalQueue(WaitingQueue):
    """First come, first served; a preempted request goes before all others."""

    def __init__(self) -> None:
        self._queue: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, request: Request) -> None:
        """Add a request at the end."""
        self._queue.append(request)

    def push_front(self, request: Request) -> None:
        """Put a request before all others."""
        self._queue.appendleft(request)

    def peek(self) -> Request:
        """Return the request that waits longest."""
        return self._queue[0]

    def pop(self) -> Request:
        """Take the request that waits longest."""
        return self._queue.popleft()


class KeyQueue(WaitingQueue):
    """Smallest key first, ties in order of arrival; a preempted request queues by its key as any other."""

    def __init__(self, key: Callable[[Request], Any]) -> None:
        self._key = key
        self._heap: list[tuple[Any, int, int, Request]] = []

    def __len__(self) -> int:
        return len(self._heap)

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
