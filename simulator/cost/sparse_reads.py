"""Decode attention that reads only a part of a long context."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.core import Request
from simulator.cost.terms import Terms
from simulator.cost.wrapped_terms import WrappedTerms

Float = NDArray[np.float64]


class SparseReads(WrappedTerms):
    """Decodes that read ``min(context, budget + context / page)`` KV tokens on a ``share`` of the layers."""

    def __init__(self, terms: Terms, share: float, budget: int, page: int) -> None:
        super().__init__(terms, "sparse attention", f"measured or roofline, over at most {budget} tokens and page keys")
        self._share = share
        self._budget = budget
        self._page = page

    @property
    def knots(self) -> Float:
        """Contexts between which ``decode`` is a straight line."""
        within = self._terms.knots
        # Where the budget begins to bind, and the contexts that read as much as the measured ones.
        binds = self._budget / (1 - 1 / self._page)
        later = (within - self._budget) * self._page
        return np.union1d(within, np.concatenate(([np.floor(binds), np.ceil(binds)], later[later > binds])))

    def read(self, context: Float) -> Float:
        """Return the KV tokens that are read of a context."""
        return np.minimum(context, self._budget + context / self._page)

    def decode(self, batch: Float, context: Float) -> Float:
        """Return seconds of attention of ``batch`` decodes that have ``context`` KV tokens each."""
        dense, sparse = self._terms.decode(batch, context), self._terms.decode(batch, self.read(context))
        return np.asarray((1 - self._share) * dense + self._share * sparse)

    def prompts(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: float, longest: float
    ) -> float:
        """Return seconds of attention of prompt chunks; that of decodes too where both were measured together."""
        dense = self._terms.prompts(chunks, tokens, requests, context, longest)
        if self._terms.adds_up:
            return dense
        mean, most = (float(self.read(np.array(each))) for each in (context, longest))
        return (1 - self._share) * dense + self._share * self._terms.prompts(chunks, tokens, requests, mean, most)
