"""Attention that reads a prefix common to several requests once for all of them (FlashInfer's composable formats)."""

from collections.abc import Sequence
from typing import Any

from simulator.core import Request
from simulator.cost.base import CostModel, Decodes
from simulator.cost.terms import Seen
from simulator.engine.kv_pool import KVPool


class SharedReads(CostModel):
    """A cost model in which decodes read every KV block that requests share once an iteration, not once each.

    Who shares is what the pool knows: whole blocks, of all that hold some, those with an unfinished prompt included.
    Source: Ye et al., FlashInfer, arXiv 2501.01005, composable formats.
    """

    def __init__(self, cost: CostModel, kv: KVPool) -> None:
        self._cost = cost
        self._kv = kv

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        """Return (first, growth, limit) of decodes that read shared blocks once; see ``CostModel``."""
        read = self._read(requests, context)
        first, growth, limit = self._cost.decode_run(requests, read, decodes)
        # At the least that a batch reads, the next iteration reads no more than this one: no line to go on along.
        return first, growth, limit if read > requests else 1

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the duration of an iteration with prompt chunks, which read all that is before them."""
        read = self._read(requests, context) if requests else 0
        return self._cost.mixed(chunks, tokens, requests, read, decodes)

    def coverage(self, seen: Seen | None = None) -> dict[str, Any]:
        """Return what the times rest on."""
        return self._cost.coverage(seen)

    def _read(self, requests: int, context: int) -> int:
        # What only prompts share is in the count too, so it may be more than the decodes read.
        return max(context - self._kv.shared * self._kv.block_size, requests)
