"""Cached KV blocks as extents: neighbours in one content that are used, and will be overwritten, together."""

from simulator.core import Request


class Extent:
    """Blocks ``first`` to ``end - 1`` of the content ``id``, used by ``users`` requests.

    ``rest`` is what was cut off its end while somebody used it: who began to use the extent before that goes on there.
    ``older`` and ``newer`` are its neighbours in the order of eviction while nobody uses it.
    """

    __slots__ = ("end", "first", "id", "newer", "older", "rest", "users")

    older: "Extent"
    newer: "Extent"

    def __init__(self, id_: int, first: int, end: int, users: int) -> None:
        self.id = id_
        self.first = first
        self.end = end
        self.users = users
        self.rest: Extent | None = None


class Extents:
    """All cached blocks of a pool, by content, and in the order in which unused ones are overwritten.

    That order is the longest unused first, and within an extent the last block before the first.
    """

    def __init__(self) -> None:
        # By content id, in the order they were cached: of two copies of a block, the first one is found.
        self._of: dict[int, list[Extent]] = {}
        # A ring: its newer neighbour is the longest unused, its older one the shortest.
        self._ring = self._ring_of_one()

    @staticmethod
    def _ring_of_one() -> Extent:
        ring = Extent(0, 0, 0, 0)
        ring.older = ring.newer = ring
        return ring

    def find(self, id_: int, position: int, end: int) -> tuple[Extent, int] | None:
        """Return the extent that holds a block of a content, and where it stops being the one to use (``end`` at most).

        None if the block isn't cached.
        """
        for extent in self._of.get(id_, ()):
            if extent.first <= position < extent.end:
                return extent, min(end, extent.end)
            if position < extent.first < end:
                end = extent.first
        return None

    def add(self, id_: int, first: int, end: int) -> Extent:
        """Cache blocks that one request uses."""
        extent = Extent(id_, first, end, 1)
        self._of.setdefault(id_, []).append(extent)
        return extent

    def piece(self, extent: Extent, first: int, end: int) -> Extent:
        """Return the blocks ``first`` to ``end - 1`` of an extent as one of their own."""
        if first > extent.first:
            extent = self._cut(extent, first)
        if end < extent.end:
            self._cut(extent, end)
        return extent

    def _cut(self, extent: Extent, position: int) -> Extent:
        """Cut an extent in two before a block, and return the second part."""
        upper = Extent(extent.id, position, extent.end, extent.users)
        extent.end = position
        same = self._of[extent.id]
        same.insert(same.index(extent) + 1, upper)
        if extent.users:
            upper.rest, extent.rest = extent.rest, upper
        else:
            _link(upper, extent.older, extent)
        return upper

    def use(self, extent: Extent) -> None:
        """Take an unused extent out of the order of eviction."""
        extent.older.newer, extent.newer.older = extent.newer, extent.older

    def unuse(self, extent: Extent) -> None:
        """Put an extent that nobody uses any more at the end of the order of eviction."""
        extent.rest = None
        ring = self._ring
        last = ring.older
        # Extents that follow one another in both orders are one again: so pieces do not become ever smaller.
        if last.id == extent.id and last.first == extent.end and last is not ring:
            same = self._of[extent.id]
            if len(same) == 2 or not any(
                other.first < last.end and extent.first < other.end
                for other in same
                if other is not extent and other is not last
            ):
                same.remove(last)
                self.use(last)
                extent.end = last.end
        _link(extent, ring.older, ring)

    def evict(self, blocks: int) -> None:
        """Forget the content of the blocks that are next in order; so many are unused."""
        while blocks:
            extent = self._ring.newer
            count = extent.end - extent.first
            if count > blocks:
                extent.end -= blocks
                return
            blocks -= count
            self.use(extent)
            same = self._of[extent.id]
            if len(same) == 1:
                del self._of[extent.id]
            else:
                same.remove(extent)


def _link(extent: Extent, older: Extent, newer: Extent) -> None:
    extent.older, extent.newer = older, newer
    older.newer = newer.older = extent


class Held:
    """What a request holds of a pool's cached blocks, from its first block on, and how its content is called.

    ``filled``: how many blocks have content. ``ids[i]`` names the content of blocks up to ``ends[i] - 1``.
    """

    __slots__ = ("ends", "extents", "filled", "ids")

    def __init__(self, request: Request, block_size: int) -> None:
        own = -1 - request.index
        # A block belongs to the segment that its last token is in.
        self.ids = [segment.id for segment in request.segments]
        self.ends = [segment.end // block_size for segment in request.segments]
        self.ids += [own, own if request.output_id is None else request.output_id]
        self.ends += [request.prompt_tokens // block_size, 2**62]
        self.clear()

    def clear(self) -> None:
        """Hold nothing any more."""
        self.filled = 0
        self.extents: list[tuple[Extent, int]] = []  # with the block where the request's use of it ends

    def pieces(self) -> list[Extent]:
        """Return the extents held, in order, those included that were cut off meanwhile."""
        pieces = []
        for extent, end in self.extents:
            pieces.append(extent)
            while extent.end < end:
                assert extent.rest is not None
                extent = extent.rest
                pieces.append(extent)
        return pieces
