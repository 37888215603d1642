"""KV blocks with prefix caching across requests: block by block, in vLLM's order of eviction."""

from collections import OrderedDict
from itertools import islice

from simulator.core import Request
from simulator.engine.kv_pool import KVPool

# What a full block holds: (id of the content up to and with its segment, position in the prompt).
Content = tuple[int, int]


class PrefixPool(KVPool):
    """Blocks that requests with a common prefix share.

    Full blocks keep their content when released and are found again by it until their turn to be overwritten comes:
    blocks without reusable content go first, then the longest unused, a request's last block before its first. Blocks
    that decoding requests filled are told apart only when such a request leaves (``take`` is a sum), or when somebody
    looks for cached content and the output may be the same as another request's (``output_id``).

    Source: ``vllm/v1/core/{block_pool,kv_cache_manager}.py`` of vLLM 0.32.0.
    """

    def __init__(self, total: int, block_size: int) -> None:
        super().__init__(total, block_size)
        self._plain = list(range(total))
        self._unused: OrderedDict[int, None] = OrderedDict()
        self._references = [0] * total
        self._content: list[Content | None] = [None] * total
        # The block cached with a content; where there are several, a dictionary in the order they came.
        self._cached: dict[Content, int | dict[int, None]] = {}
        self._held: dict[Request, list[int]] = {}
        self._taken: list[int] = []  # by decoding requests, not told apart yet
        self._alike: dict[Request, None] = {}  # requests whose output another one may repeat
        self._contents: dict[Request, list[Content]] = {}  # of the blocks of a request's prompt

    def can_admit(self, request: Request) -> bool:
        """Tell whether the whole sequence so far fits; blocks shared with running requests take no room."""
        need = self.blocks_for(request.tokens)
        if need <= self.free:
            return True
        return need - sum(1 for block in self._hits(request) if self._references[block]) <= self.free

    def admit(self, request: Request) -> None:
        """Give a waiting request the longest cached prefix of its sequence; see ``KVPool``."""
        hits = self._hits(request)
        for block in hits:
            if self._references[block] == 0:
                del self._unused[block]
                self.free -= 1
            self._references[block] += 1
        self._held[request] = hits
        if request.output_id is not None:
            self._alike[request] = None
        request.blocks = len(hits)
        request.computed = len(hits) * self.block_size

    def extend(self, request: Request, tokens: int) -> None:
        """Give a request blocks for more tokens, and make the full ones findable; see ``KVPool``."""
        after = request.computed + tokens
        more = self.blocks_for(after) - request.blocks
        held = self._held[request]
        if more > 0:
            held += self._pop(more)
            request.blocks += more
        self._cache(request, held, request.computed // self.block_size, after // self.block_size)

    def take(self, blocks: int) -> None:
        """Take blocks for decoding requests; see ``KVPool``."""
        self._taken += self._pop(blocks)

    def release(self, request: Request, *, resumes: bool = False) -> None:
        """Take a request's blocks back, keeping what full ones hold; see ``KVPool``."""
        held = self._held.pop(request)
        self._alike.pop(request, None)
        while len(held) < request.blocks:
            held.append(self._taken.pop())
        self._cache(request, held, 0, request.computed // self.block_size)
        if not resumes:
            self._contents.pop(request, None)
        request.blocks = 0
        references, content = self._references, self._content
        for block in reversed(held):
            references[block] -= 1
            if references[block] == 0:
                self.free += 1
                if content[block] is None:
                    self._plain.append(block)
                else:
                    self._unused[block] = None

    def _pop(self, count: int) -> list[int]:
        """Take free blocks in their order of reuse; what they held is forgotten."""
        self.free -= count
        plain, contents, cached, references = self._plain, self._content, self._cached, self._references
        popped = [plain.pop() for _ in range(min(count, len(plain)))]
        oldest = self._unused.popitem
        for _ in range(count - len(popped)):
            block, _ = oldest(last=False)
            content = contents[block]
            assert content is not None
            found = cached.pop(content)
            if not isinstance(found, int):
                del found[block]
                if found:
                    cached[content] = found
            contents[block] = None
            popped.append(block)
        for block in popped:
            references[block] = 1
        return popped

    def _hits(self, request: Request) -> list[int]:
        """Return the cached blocks of the longest prefix, never the whole sequence: its last token must be computed."""
        if not request.segments and not request.preemptions:
            return []
        self._tell_apart()
        cached, hits = self._cached, []
        full = (request.tokens - 1) // self.block_size
        for content in islice(self._contents_of(request, full), full):
            found = cached.get(content)
            if found is None:
                break
            hits.append(found if isinstance(found, int) else next(iter(found)))
        return hits

    def _tell_apart(self) -> None:
        """Make findable what decoding requests with a repeatable output fill, the planned iteration included."""
        for request in self._alike:
            if request in self.decodes:
                held, full = self._held[request], (request.offset + self.decodes.iteration) // self.block_size
                while len(held) < full:
                    held.append(self._taken.pop())
                self._cache(request, held, request.prompt_tokens // self.block_size, full)

    def _cache(self, request: Request, held: list[int], first: int, last: int) -> None:
        """Make blocks first..last - 1 of a request, now full, findable by their content."""
        if first >= last:
            return
        contents, block_contents, cached = self._contents_of(request, last), self._content, self._cached
        for position in range(first, last):
            block = held[position]
            if block_contents[block] is None:
                block_contents[block] = content = contents[position]
                found = cached.setdefault(content, block)
                if found is not block:
                    if isinstance(found, int):
                        cached[content] = found = {found: None}
                    found[block] = None

    def _contents_of(self, request: Request, blocks: int) -> list[Content]:
        """Return what the first full blocks of a request hold: ``blocks`` of them or more, as a list that is kept."""
        contents, size = self._contents.get(request), self.block_size
        if contents is None:
            contents = self._contents[request] = []
            for segment in request.segments:
                # A block belongs to the segment that its last token is in.
                contents += [(segment.id, position) for position in range(len(contents), segment.end // size)]
        while len(contents) < blocks:
            position = len(contents)
            after_prompt = (position + 1) * size > request.prompt_tokens
            alike = after_prompt and request.output_id is not None
            contents.append((request.output_id if alike else -1 - request.index, position))  # type: ignore[arg-type]
        return contents
