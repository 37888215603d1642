"""Contiguous memory in pieces of a power of two, split in halves and merged with their buddies again."""

from bisect import insort

from simulator.core import Request
from simulator.scheduling.reservations import Reservations


class BuddyReservations(Reservations):
    """Promises of contiguous KV blocks by a buddy allocator (Knowlton, CACM 1965), as Orca has them in vLLM's paper.

    A request gets the smallest free piece that holds it, split in halves as often as that goes. Memory whose size is no
    power of two is laid out as several pieces, the largest first; a request larger than the first takes all there is,
    and so runs alone.
    """

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self._pieces: dict[Request, tuple[int, int] | None] = {}  # order and address; None: everything
        self._free: list[list[int]] = [[] for _ in range(total.bit_length())]  # by order: addresses, rising
        self._lay_out()

    def take(self, request: Request, blocks: int) -> bool:
        """Promise a request a piece of so many blocks or more; see ``Reservations``."""
        order = (blocks - 1).bit_length()
        if order >= len(self._free):
            if self._pieces:
                return False
            for free in self._free:
                free.clear()
            self._pieces[request] = None
            return super().take(request, self.total)
        split = order
        while split < len(self._free) and not self._free[split]:
            split += 1
        if split == len(self._free):
            return False
        address = self._free[split].pop(0)
        while split > order:
            split -= 1
            insort(self._free[split], address + (1 << split))
        self._pieces[request] = order, address
        return super().take(request, 1 << order)

    def give_back(self, request: Request) -> None:
        """Take a piece back, and merge it with its buddy as long as that is free too."""
        if request not in self._pieces:
            return
        super().give_back(request)
        piece = self._pieces.pop(request)
        if piece is None:
            self._lay_out()
            return
        order, address = piece
        # The buddy of a first piece is no free piece of that order: the next one is smaller, so merging ends there.
        while (buddy := address ^ (1 << order)) in (free := self._free[order]):
            free.remove(buddy)
            address = min(address, buddy)
            order += 1
        insort(self._free[order], address)

    def _lay_out(self) -> None:
        address = 0
        for order in reversed(range(len(self._free))):
            if self.total >> order & 1:
                self._free[order].append(address)
                address += 1 << order
