"""Attention whose scores go to memory and back, and decode attention that does not split long contexts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.core import Request
from simulator.cost.terms import Terms
from simulator.cost.wrapped_terms import WrappedTerms

Float = NDArray[np.float64]
# Scores are written, read by the softmax, its result is written, and read again (arXiv 2205.14135, algorithm 0).
PASSES = 4
SCORE_BYTES = 2


def score_bytes(heads: int, queries: float, keys: float) -> float:
    """Return the bytes that unfused attention moves for its scores, over ``heads`` heads of all layers.

    Causal or not, every query has a score for every key.
    """
    return PASSES * SCORE_BYTES * heads * queries * keys


class UnfusedAttention(WrappedTerms):
    """Fused attention's time and that of moving scores to memory and back.

    ``heads``: query heads on one GPU, over all layers; ``bandwidth`` in bytes a second.
    """

    def __init__(self, terms: Terms, heads: int, bandwidth: float) -> None:
        super().__init__(terms, "scores of attention", "moved to memory and back at the measured elementwise bandwidth")
        self._heads = heads
        self._bandwidth = bandwidth

    def decode(self, batch: Float, context: Float) -> Float:
        """Return seconds of attention of decodes and of their scores."""
        return (
            self._terms.decode(batch, context) + score_bytes(self._heads, 1.0, 1.0) * batch * context / self._bandwidth
        )

    def prompts(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: float, longest: float
    ) -> float:
        """Return seconds of attention of prompt chunks and of their scores."""
        scores = sum(score_bytes(self._heads, new, request.computed + new) for request, new in chunks)
        if not self.adds_up:
            scores += score_bytes(self._heads, requests, context)
        return self._terms.prompts(chunks, tokens, requests, context, longest) + scores / self._bandwidth


class UnsplitDecodes(WrappedTerms):
    """Decode attention with one thread block for a request's KV head: small batches leave multiprocessors idle.

    What a context costs beyond the shortest is divided by the share of ``sms`` that have work; ``blocks`` is the number
    of thread blocks that a request makes on one GPU.
    """

    def __init__(self, terms: Terms, blocks: float, sms: int) -> None:
        super().__init__(terms, "splitting of decode attention", "none: occupancy min(1, thread blocks / SMs)")
        self._blocks = blocks
        self._sms = sms

    def occupancy(self, batch: Float) -> Float:
        """Return the share of multiprocessors that a batch's decode attention keeps busy."""
        return np.minimum(1.0, batch * self._blocks / self._sms)

    def decode(self, batch: Float, context: Float) -> Float:
        """Return seconds of attention of decodes."""
        least = self._terms.decode(batch, np.full_like(context, float(self.knots[0])))
        rest = np.maximum(self._terms.decode(batch, context) - least, 0.0)
        return least + rest / self.occupancy(batch)
