"""The requests that decode together, as aggregates: an iteration costs O(what changed), not O(batch)."""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Any, Final

from simulator.core import Request
from simulator.engine.ledger import pack_span

NEVER: Final = 2**62


class DecodeSet:
    """Requests that each make one token an iteration.

    Iterations of an instance are numbered; ``iteration`` is the next one to run. A member's context (the KV tokens it
    reads, its new one included) grows by 1 an iteration, so ``context - iteration`` is constant: it is kept as
    ``request.offset``, and sums and maxima over the set stay right without touching its members. Iterations that the
    whole set sits out (``stall``) are not counted here; the ledger's numbers are larger by ``stalls``.
    ``next_finish`` is the iteration in which the next member makes its last token, ``NEVER`` without members.
    ``add_packed_span`` hears, of each member that leaves, in which iterations it made tokens (see ``Ledger``).
    """

    __slots__ = (
        "_add_packed_span",
        "_crossings",
        "_finishes",
        "_joined",
        "_longest",
        "_stale",
        "_stalled_after",
        "block_size",
        "iteration",
        "members",
        "next_finish",
        "offsets",
        "stalls",
    )

    def __init__(self, block_size: int, add_packed_span: Callable[[bytes], Any]) -> None:
        self._add_packed_span = add_packed_span
        self.block_size = block_size
        self.iteration = 0
        self.members: dict[Request, None] = {}
        self.offsets = 0  # sum over members of context - iteration
        # By last iteration, then in the order of joining: the order in which an engine hears that they are done.
        self._finishes: list[tuple[int, int, Request]] = []
        self._stale = 0  # how many of these entries are of requests that left before
        self.next_finish = NEVER
        self._joined = 0
        self.stalls = 0
        self._stalled_after = (-1, 0)  # at the last stall: ``iteration``, and the stalls before the first since it
        # A heap by context, kept only once a cost model asks for the longest.
        self._longest: list[tuple[int, Request]] | None = None
        # _crossings[r]: members whose next token opens a new KV block at iterations congruent to r.
        self._crossings = [0] * block_size

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, request: Request) -> bool:
        return request in self.members

    def __iter__(self) -> Iterator[Request]:
        return iter(self.members)

    @property
    def context(self) -> int:
        """KV tokens that all members together read in the next iteration."""
        return self.offsets + len(self.members) * self.iteration

    @property
    def longest(self) -> int:
        """Context of the member with the longest one, in the next iteration; 0 when empty."""
        if self._longest is None:
            self._longest = sorted((-request.offset, request) for request in self.members)
        heap = self._longest
        while heap:
            negative, request = heap[0]
            if request in self.members and request.offset == -negative:
                return self.iteration - negative
            heappop(heap)
        return 0

    def stall(self) -> None:
        """Sit an iteration out that the ledger counts."""
        if self._stalled_after[0] != self.iteration:
            self._stalled_after = (self.iteration, self.stalls)
        self.stalls += 1

    def add(self, request: Request, made: int = 0) -> None:
        """Let a request decode from the next iteration on; its last ``made`` (0 or 1) tokens begin its span."""
        iteration = self.iteration
        request.offset = offset = request.computed + 1 - iteration
        request.joined = number = iteration + self.stalls
        request.span_start = number - made
        request.finish_iteration = last = iteration + request.stop_at - request.generated - 1
        self.members[request] = None
        self.offsets += offset
        self._crossings[(1 - offset) % self.block_size] += 1
        self._joined = joined = self._joined + 1
        heappush(self._finishes, (last, joined, request))
        if last < self.next_finish:
            self.next_finish = last
        if self._longest is not None:
            heappush(self._longest, (-offset, request))

    def remove(self, request: Request) -> None:
        """Take a request out before the next iteration; its ``computed`` and ``generated`` become true again."""
        del self.members[request]
        offset, iteration = request.offset, self.iteration
        self.offsets -= offset
        self._crossings[(1 - offset) % self.block_size] -= 1
        request.computed = offset + iteration - 1
        generated = request.stop_at - request.finish_iteration + iteration - 1
        first, joined = request.span_start, request.joined
        if generated > request.generated:
            after, stalls = self._stalled_after
            last = iteration - 1 + (stalls if after == iteration else self.stalls)
            self._add_packed_span(pack_span(request.index, first, last, first == joined))
        elif first < joined:
            self._add_packed_span(pack_span(request.index, first, first, 0))
        request.generated = generated
        self._stale += 1
        self._drop_stale()

    def _drop_stale(self) -> None:
        """Let the heap begin with a member's entry, and note its finish."""
        heap = self._finishes
        while heap:
            last, _, request = heap[0]
            if request.finish_iteration == last and request in self.members:
                self.next_finish = last
                return
            heappop(heap)
            self._stale -= 1
        self.next_finish = NEVER

    def pop_finished(self) -> list[Request]:
        """Remove and return the members that made their last token before the next iteration; their blocks are set."""
        heap, members, done, iteration = self._finishes, self.members, [], self.iteration
        while self.next_finish < iteration:
            # As `remove`, for a request that made all its tokens.
            last, _, request = heappop(heap)
            del members[request]
            offset = request.offset
            self.offsets -= offset
            self._crossings[(1 - offset) % self.block_size] -= 1
            request.generated = made = request.stop_at
            request.computed = computed = request.prompt_tokens + made - 1
            request.blocks = -(-computed // self.block_size)
            first = request.span_start
            self._add_packed_span(pack_span(request.index, first, last + self.stalls, first == request.joined))
            done.append(request)
            if self._stale:
                self._drop_stale()
            else:
                self.next_finish = heap[0][0] if heap else NEVER
        return done

    def crosses(self, request: Request) -> bool:
        """Tell whether a member opens a new KV block in the next iteration."""
        return (request.offset + self.iteration - 1) % self.block_size == 0

    def blocks_next(self) -> int:
        """Return how many KV blocks the members open in the next iteration."""
        return self._crossings[self.iteration % self.block_size]

    def blocks_needed(self, start: int, count: int) -> int:
        """Return how many KV blocks the members open in ``count`` iterations from number ``start`` on."""
        size = self.block_size
        first = start % size
        last = first + count % size
        needed = sum(self._crossings[first:last])
        if last > size:
            needed += sum(self._crossings[: last - size])
        if count >= size:
            needed += count // size * len(self.members)
        return needed

    def iterations_that_fit(self, start: int, free: int, wanted: int) -> int:
        """Return how many of ``wanted`` iterations from number ``start`` on open at most ``free`` KV blocks in all."""
        size = self.block_size
        if (wanted // size + 1) * len(self.members) <= free or self.blocks_needed(start, wanted) <= free:
            return wanted
        cycles = free // len(self.members)
        used, fits = cycles * len(self.members), cycles * size
        while fits < wanted:
            used += self._crossings[(start + fits) % size]
            if used > free:
                break
            fits += 1
        return fits
