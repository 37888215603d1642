"""KV blocks with prefix caching across requests, in vLLM's order of eviction."""

from bisect import bisect_right
from collections.abc import Iterator

from simulator.core import Request
from simulator.engine.extents import Extent, Extents, Held
from simulator.engine.kv_pool import KVPool


class PrefixPool(KVPool):
    """Blocks that requests with a common prefix share.

    Full blocks keep their content when released and are found again by it until their turn to be overwritten comes:
    blocks without reusable content go first, then the longest unused, a request's last block before its first. Blocks
    that decoding requests filled are told apart only when such a request leaves (``take`` is a sum), or when somebody
    looks for cached content and the output may be the same as another request's (``output_id``).

    Decisions are those of vLLM, block by block; the work is by extents, so it grows with the pieces of a prompt and not
    with its length.

    Source: ``vllm/v1/core/{block_pool,kv_cache_manager}.py`` of vLLM 0.32.0.
    """

    def __init__(self, total: int, block_size: int) -> None:
        super().__init__(total, block_size)
        self._plain = total  # free blocks without content
        self._cached = Extents()
        self._held: dict[Request, Held] = {}
        self._alike: dict[Request, None] = {}  # requests whose output another one may repeat

    def can_admit(self, request: Request) -> bool:
        """Tell whether the whole sequence so far fits; blocks shared with running requests take no room."""
        need = self.blocks_for(request.tokens)
        if need <= self.free:
            return True
        hits = self._hits(request, self._held.get(request) or Held(request, self.block_size))
        return need - sum(end - first for extent, first, end in hits if extent.users) <= self.free

    def admit(self, request: Request) -> None:
        """Give a waiting request the longest cached prefix of its sequence; see ``KVPool``."""
        held = self._held.get(request)
        if held is None:
            held = self._held[request] = Held(request, self.block_size)
        end = 0
        for found, first, end in self._hits(request, held):
            extent = self._cached.piece(found, first, end)
            if extent.users:
                self.shared += end - first
            else:
                self._cached.use(extent)
                self.free -= end - first
            extent.users += 1
            held.extents.append((extent, end))
        held.filled = request.blocks = end
        request.computed = end * self.block_size
        if request.output_id is not None:
            self._alike[request] = None

    def extend(self, request: Request, tokens: int) -> None:
        """Give a request blocks for more tokens, and make the full ones findable; see ``KVPool``."""
        after = request.computed + tokens
        more = -(-after // self.block_size) - request.blocks
        if more > 0:
            self.take(more)
            request.blocks += more
        self._fill(self._held[request], after // self.block_size)

    def take(self, blocks: int) -> None:
        """Take free blocks in their order of reuse; see ``KVPool``."""
        self.free -= blocks
        self._plain -= blocks
        if self._plain < 0:
            self._cached.evict(-self._plain)
            self._plain = 0

    def release(self, request: Request, *, resumes: bool = False) -> None:
        """Take a request's blocks back, keeping what full ones hold; see ``KVPool``."""
        held = self._held[request]
        self._alike.pop(request, None)
        self._fill(held, request.computed // self.block_size)
        self.free += request.blocks - held.filled
        self._plain += request.blocks - held.filled
        for extent in reversed(held.pieces()):
            extent.users -= 1
            if extent.users:
                self.shared -= extent.end - extent.first
            else:
                self.free += extent.end - extent.first
                self._cached.unuse(extent)
        request.blocks = 0
        if resumes:
            held.clear()
        else:
            del self._held[request]

    def give_back(self, blocks: int) -> None:
        """Free blocks that were taken for nobody's content yet; see ``KVPool``."""
        self.free += blocks
        self._plain += blocks

    def adopt(self, request: Request, blocks: int) -> None:
        """Let a request hold blocks that were taken before, and make the full ones findable; see ``KVPool``."""
        request.blocks = blocks
        self._held[request] = held = Held(request, self.block_size)
        if request.output_id is not None:
            self._alike[request] = None
        self._fill(held, request.computed // self.block_size)

    def leave_behind(self, request: Request) -> Request:
        """Return a stand-in that holds what a request held here; see ``KVPool``."""
        stand_in = super().leave_behind(request)
        self._held[stand_in] = self._held.pop(request)
        self._alike.pop(request, None)
        return stand_in

    def _hits(self, request: Request, held: Held) -> Iterator[tuple[Extent, int, int]]:
        """Yield the cached blocks of the longest prefix, as extent and range of blocks.

        Never the whole sequence: its last token must be computed.
        """
        if not request.segments and not request.preemptions:
            return
        self._tell_apart()
        position, full = 0, (request.tokens - 1) // self.block_size
        for id_, end in zip(held.ids, held.ends, strict=True):
            end = min(end, full)
            while position < end:
                found = self._cached.find(id_, position, end)
                if found is None:
                    return
                first, position = position, found[1]
                yield found[0], first, position

    def _tell_apart(self) -> None:
        """Make findable what decoding requests with a repeatable output fill, the planned iteration included."""
        for request in self._alike:
            if request in self.decodes:
                self._fill(self._held[request], (request.offset + self.decodes.iteration) // self.block_size)
            elif request.finished_at >= 0:
                self._fill(self._held[request], request.computed // self.block_size)

    def _fill(self, held: Held, end: int) -> None:
        """Make the blocks of a request before ``end``, now full, findable by their content."""
        if held.filled >= end:
            return
        ids, ends = held.ids, held.ends
        span = bisect_right(ends, held.filled)
        while held.filled < end:
            until = min(ends[span], end)
            if until > held.filled:
                extent = self._cached.add(ids[span], held.filled, until)
                held.extents.append((extent, until))
                held.filled = until
            span += 1
