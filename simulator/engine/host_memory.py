"""The host's memory for swapped KV blocks, and the link to it."""

from simulator.core import InputError, Request
from simulator.engine.kv_pool import KVPool


class HostMemory:
    """Room for ``total`` KV blocks outside the GPU; ``free`` of them can be taken.

    ``ps_per_token``: how long the KV of one token takes over the link, in either direction. A policy either lets its
    next iteration wait for what it moved (``Extras.moved``), or moves KV while iterations run: the link then carries
    one request after the other, and ``ready_at`` says when one is there. Without any room nothing can be swapped.
    """

    def __init__(self, kv: KVPool, total: int = 0, ps_per_token: int = 0) -> None:
        if total < 0 or ps_per_token < 0:
            raise InputError(f"host memory of {total} blocks at {ps_per_token} ps a token", hint="0 or more of both")
        self._kv = kv
        self.total = self.free = total
        self.ps_per_token = ps_per_token
        self.blocks: dict[Request, int] = {}  # held here by swapped requests
        self._busy_until = 0

    def can_take(self, request: Request) -> bool:
        """Tell whether the KV of a request that does not decode fits."""
        return self._kv.blocks_for(request.computed) <= self.free

    def swap_out(self, request: Request) -> int:
        """Move the KV of a request that does not decode here; return its tokens. Its GPU blocks are free at once."""
        computed = request.computed
        self.blocks[request] = blocks = self._kv.blocks_for(computed)
        self.free -= blocks
        assert self.free >= 0, "the host's memory was overdrawn"
        self._kv.release(request)
        request.computed = computed
        return computed

    def swap_in(self, request: Request) -> int:
        """Move the KV of a swapped request back; return its tokens. The caller made sure that its blocks are free."""
        computed = request.computed
        self.free += self.blocks.pop(request)
        self._kv.admit(request)
        self._kv.extend(request, computed - request.computed)
        request.computed = computed
        return computed

    def drop(self, request: Request) -> None:
        """Forget the KV of a swapped request."""
        self.free += self.blocks.pop(request)

    def ps(self, tokens: int) -> int:
        """Return how long the KV of so many tokens is on the link."""
        return tokens * self.ps_per_token

    def ready_at(self, tokens: int, now: int) -> int:
        """Let the link carry the KV of so many tokens after all that was given to it before; return when it is done."""
        self._busy_until = max(self._busy_until, now) + self.ps(tokens)
        return self._busy_until
