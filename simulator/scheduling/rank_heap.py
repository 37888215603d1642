"""A queue by rank whose members may change rank, or leave from anywhere in it."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from simulator.core import Request

Rank = tuple[float, ...]
_SPARE = 64  # entries of the heap that may be stale before half of it is


class RankHeap:
    """Requests by rank, the smallest first, ties by index; O(log n) each.

    A request that changes rank gets a new entry; old ones are passed over when they come up.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, Request]] = []
        self._entries: dict[Request, tuple[Rank, Request]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, request: Request) -> bool:
        return request in self._entries

    def __iter__(self) -> Iterator[Request]:
        return iter(self._entries)

    def put(self, request: Request, rank: Rank) -> None:
        """Add a request, or change its rank."""
        self._entries[request] = entry = (rank, request)
        heap = self._heap
        if len(heap) > 2 * len(self._entries) + _SPARE:
            heap[:] = self._entries.values()
            heapify(heap)
        else:
            heappush(heap, entry)

    def drop(self, request: Request) -> None:
        """Take a request out, if it is in."""
        self._entries.pop(request, None)

    def rank(self, request: Request) -> Rank:
        """Return a member's rank."""
        return self._entries[request][0]

    def first(self) -> Request | None:
        """Return the request with the smallest rank; None when empty."""
        heap, entries = self._heap, self._entries
        while heap:
            entry = heap[0]
            if entries.get(entry[1]) is entry:
                return entry[1]
            heappop(heap)
        return None
