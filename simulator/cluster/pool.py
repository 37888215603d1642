"""Instances that come and go between pools, ordered by how much they have to do."""

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush


class Pool:
    """Some of the instances, of which ``least`` returns the one with the smallest value (ties: the smallest index).

    ``values`` belongs to whoever keeps it, one entry an instance; each change of a member's is told by ``changed``.
    """

    def __init__(self, values: Sequence[int], members: Iterable[int] = ()) -> None:
        self._values = values
        self.members: set[int] = set()
        self._heap: list[tuple[int, int]] = []  # an entry counts if it is of a member and its present value
        for index in members:
            self.join(index)

    def __len__(self) -> int:
        return len(self.members)

    def join(self, index: int) -> None:
        """Take an instance in."""
        self.members.add(index)
        self.changed(index)

    def leave(self, index: int) -> None:
        """Let a member go."""
        self.members.remove(index)

    def changed(self, index: int) -> None:
        """Hear that an instance's value changed; nothing if it is no member."""
        if index not in self.members:
            return
        heappush(self._heap, (self._values[index], index))
        if len(self._heap) > 8 * len(self._values) + 64:
            self._heap = [(self._values[index], index) for index in self.members]
            heapify(self._heap)

    def least(self) -> int | None:
        """Return the member with the smallest value, None without members; O(log n) over time."""
        heap = self._heap
        while heap:
            value, index = heap[0]
            if index in self.members and self._values[index] == value:
                return index
            heappop(heap)
        return None
