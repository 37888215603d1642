"""KV of finished prompts kept in the host's memory, beyond what the GPU can hold."""

from simulator.core import InputError, Request
from simulator.engine.fetching import FetchingPool
from simulator.engine.kv_pool import KVPool
from simulator.engine.prefix_pool import PrefixPool


class TieredPool(FetchingPool):
    """A prefix cache with a second tier of ``host_blocks`` in the host's memory, the longest unused leaving first.

    What a request leaves on the GPU is written there too, beside the iterations. A request that finds more of its
    prompt there than on the GPU fetches the difference, at ``ps_per_token``, before its first chunk.
    """

    def __init__(self, pool: KVPool, host_blocks: int, ps_per_token: int) -> None:
        if host_blocks < 1 or ps_per_token < 0:
            raise InputError(f"a host tier of {host_blocks} blocks at {ps_per_token} ps a token", hint="more memory")
        super().__init__(pool)
        self._host = PrefixPool(host_blocks, pool.block_size)
        self._ps_per_token = ps_per_token
        self.tokens_fetched = 0

    def admit(self, request: Request) -> None:
        """Give a waiting request the longest prefix that either tier has; see ``KVPool``."""
        super().admit(request)
        more = self._found(request) - request.computed
        if more <= 0:
            return
        super().extend(request, more)
        request.computed += more
        self.tokens_fetched += more
        self.fetched[request] = (request.computed, more * self._ps_per_token)

    def release(self, request: Request, *, resumes: bool = False) -> None:
        """Take a request's blocks back, and keep what full ones hold in both tiers."""
        if request.blocks:
            self._keep(request)
        super().release(request, resumes=resumes)

    def leave_behind(self, request: Request) -> Request:
        """Return a stand-in that holds what a request held here, which is kept in the host's memory from now on."""
        self._keep(request)
        return super().leave_behind(request)

    def _found(self, request: Request) -> int:
        """Return how many tokens of a request's sequence the host has, and count that as a use of them."""
        like = _alike(request)
        self._host.admit(like)
        tokens = like.computed
        self._host.release(like)
        return tokens

    def _keep(self, request: Request) -> None:
        size = self.block_size
        tokens = min(request.computed // size, self._host.total) * size
        if not tokens or not request.segments:
            return
        like = _alike(request)
        self._host.admit(like)
        if like.computed < tokens:
            self._host.extend(like, tokens - like.computed)
            like.computed = tokens
        self._host.release(like)


def _alike(request: Request) -> Request:
    """Return a request of the same content, which another pool can hold."""
    like = Request(
        request.index,
        request.arrival,
        request.prompt_tokens,
        request.output_tokens,
        segments=request.segments,
        output_id=request.output_id,
    )
    like.generated = request.generated
    return like
