"""Attention over KV that lies in other instances' memory: they read it, the results come back in messages."""

from collections.abc import Sequence
from typing import Any

from simulator.core import Request
from simulator.cost.base import CostModel, Decodes
from simulator.cost.terms import Seen


class RemoteKV(CostModel):
    """A cost model whose decodes read part of their KV elsewhere, and KV of others' requests here.

    ``lent``: tokens that this instance reads for others in each iteration with decodes. ``shares``: tokens that each
    other instance reads for this one, all at the same time as this one reads the rest: an iteration's attention takes
    what the longest of these does. ``message_ps``: added to an iteration with decodes while there is any share (the
    queries to the others and the partial results back, layer by layer). Change them between iterations only.
    """

    def __init__(self, cost: CostModel, message_ps: int) -> None:
        self._cost = cost
        self._message_ps = message_ps
        self.lent = 0
        self.shares: dict[int, int] = {}

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        """Return (first, growth, limit); see ``CostModel``."""
        if not (self.lent or self.shares):
            return self._cost.decode_run(requests, context, decodes)
        here, elsewhere = self._here(context), self._elsewhere(requests)
        first, growth, limit = self._cost.decode_run(requests, max(here, elsewhere), decodes)
        # While the others read longer, what they read does not grow, and what else does is for the model to say.
        return first + self._messages_ps, growth, limit if here >= elsewhere else 1

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the duration of an iteration with prompt chunks; these are computed where the request is."""
        if not requests or not (self.lent or self.shares):
            return self._cost.mixed(chunks, tokens, requests, context, decodes)
        read = max(self._here(context), self._elsewhere(requests))
        return self._cost.mixed(chunks, tokens, requests, read, decodes) + self._messages_ps

    def coverage(self, seen: Seen | None = None) -> dict[str, Any]:
        """Return what the times rest on."""
        return self._cost.coverage(seen)

    @property
    def _messages_ps(self) -> int:
        return self._message_ps if self.shares else 0

    def _here(self, context: int) -> int:
        return context - sum(self.shares.values()) + self.lent

    def _elsewhere(self, requests: int) -> int:
        return max(max(self.shares.values(), default=0), requests)
