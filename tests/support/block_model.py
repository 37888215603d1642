"""KV blocks the slow and obvious way: every block an object, every question a search through all of them."""

from dataclasses import dataclass, field
from typing import Any

from simulator.core import Request


@dataclass(eq=False)
class Block:
    """A block: what it holds, who uses it, since when nobody does."""

    content: Any = None
    users: int = 0
    cached_at: int = 0
    unused_since: int = -1


@dataclass
class Holding:
    """What a request has: its blocks in order, and how many tokens are in them."""

    blocks: list[Block] = field(default_factory=list)
    computed: int = 0


class BlockModel:
    """vLLM's block pool in words: LRU over unused blocks, those without content first, a tail before its head."""

    def __init__(self, total: int, block_size: int, *, reuse: bool) -> None:
        self.blocks = [Block() for _ in range(total)]
        self.size = block_size
        self.reuse = reuse
        self.holdings: dict[Request, Holding] = {}
        self._clock = 0

    @property
    def free(self) -> int:
        return sum(block.users == 0 for block in self.blocks)

    def hits(self, request: Request) -> list[Block]:
        """Return the longest cached prefix, short of the whole sequence."""
        found: list[Block] = []
        for position in range((request.tokens - 1) // self.size):
            content = self._content(request, position)
            same = [block for block in self.blocks if block.content == content]
            if not same:
                break
            found.append(min(same, key=lambda block: block.cached_at))
        return found

    def can_admit(self, request: Request) -> bool:
        hits = self.hits(request)
        return -(-request.tokens // self.size) - sum(block.users > 0 for block in hits) <= self.free

    def admit(self, request: Request) -> int:
        hits = self.hits(request)
        for block in hits:
            block.users += 1
        self.holdings[request] = Holding(hits, len(hits) * self.size)
        return len(hits) * self.size

    def compute(self, request: Request, tokens: int) -> None:
        """Put more tokens of a request into the cache."""
        holding = self.holdings[request]
        holding.computed += tokens
        while len(holding.blocks) * self.size < holding.computed:
            free = [block for block in self.blocks if block.users == 0]
            block = min(free, key=lambda block: (block.content is not None, block.unused_since))
            block.users, block.content = 1, None
            holding.blocks.append(block)

    def remember(self, request: Request) -> None:
        """Make the full blocks of a request findable."""
        holding = self.holdings[request]
        if self.reuse:
            for position, block in enumerate(holding.blocks[: holding.computed // self.size]):
                if block.content is None:
                    self._clock += 1
                    block.content, block.cached_at = self._content(request, position), self._clock

    def release(self, request: Request) -> None:
        self.remember(request)
        for block in reversed(self.holdings.pop(request).blocks):
            self._clock += 1
            block.users -= 1
            block.unused_since = self._clock

    def _content(self, request: Request, position: int) -> Any:
        end = (position + 1) * self.size
        for segment in request.segments:
            if end <= segment.end:
                return ("shared", segment.id, position)
        return ("own", request.index, position)
