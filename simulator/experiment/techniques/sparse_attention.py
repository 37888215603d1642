"""Decode attention to the pages of the KV cache that matter most: dynamic sparse attention."""

from typing import Annotated

from pydantic import Field

from simulator.core import InputError
from simulator.cost.sparse_reads import SparseReads
from simulator.cost.terms import Terms
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique
from simulator.model import Attention


@technique("sparse_attention")
class SparseAttention(Technique):
    """A decode reads ``budget`` KV tokens of the best pages, after a summary of each page of ``page`` tokens.

    As Quest does: all KV stays in memory, prompts are computed in full. A page's summary is the least and the greatest
    of its keys, as many numbers as one token's key and value. ``dense_layers`` read everything (Quest: the first two).
    """

    level = "model"
    source = "Quest, arXiv 2406.10774"
    changes = "decode attention reads min(context, budget + context / page) KV tokens"
    exclusive = "tokens that attention sees"

    def __init__(
        self,
        *,
        budget: Annotated[int, Field(ge=1)] = 1024,
        page: Annotated[int, Field(ge=2)] = 16,
        dense_layers: Annotated[int, Field(ge=0)] = 2,
    ) -> None:
        self._budget = budget
        self._page = page
        self._dense_layers = dense_layers

    def terms(self, terms: Terms, parts: Parts) -> Terms:
        """Return decode attention over what is read."""
        model = parts.model
        if not all(isinstance(kind.attention, Attention) for kind in model.kinds):
            raise InputError(f"{model.name} has latent attention, which was measured as whole modules")
        if self._dense_layers >= model.layers:
            raise InputError(f"{self._dense_layers} dense layers leave none of the {model.layers} of {model.name}")
        share = 1 - self._dense_layers / model.layers
        return SparseReads(terms, share, self._budget, self._page)
