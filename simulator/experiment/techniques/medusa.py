"""Speculative decoding with heads on the model's own hidden states."""

from simulator.cost.kv_memory import Held
from simulator.cost.products import Products
from simulator.cost.speculative import HeadsDraft
from simulator.experiment.techniques.base import Parts
from simulator.experiment.techniques.registry import technique
from simulator.experiment.techniques.speculation import Acceptance, Speculation, Tokens
from simulator.model import Linear


@technique("medusa")
class Medusa(Speculation):
    """``heads`` heads propose the next tokens at once, as a tree of ``nodes`` tokens that is verified in one pass.

    A head is a square matrix and a head over the vocabulary. ``acceptance``: probability that one of the tree's tokens
    of a depth is right, where those before are; a rate, or one for each head.
    """

    source = "Cai et al., Medusa, arXiv 2401.10774, section 2.1 (heads and tree attention)"
    changes = "iterations cost a share of a step that verifies the tree; memory for the heads"

    def __init__(self, *, acceptance: Acceptance, heads: Tokens = 4, nodes: Tokens | None = None) -> None:
        super().__init__(acceptance, heads, nodes)
        self._heads = heads

    def draft(self, parts: Parts) -> HeadsDraft:
        """Return the heads."""
        return HeadsDraft(self._products(parts))

    def held(self, parts: Parts) -> Held:
        """Return the heads' weights."""
        return Held(self._products(parts).weight_bytes, 0.0)

    def _products(self, parts: Parts) -> Products:
        model, split = parts.model, parts.parallel.tensor
        head = (
            Linear("medusa", model.hidden, model.hidden // split),
            Linear("medusa_head", model.hidden, model.vocab // split),
        )
        return Products(parts.profile, parts.engine, head * self._heads)
