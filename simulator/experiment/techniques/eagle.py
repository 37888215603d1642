"""Speculative decoding with one more layer as draft."""

from dataclasses import replace

from simulator.cost.kv_memory import Held
from simulator.cost.products import Products
from simulator.cost.speculative import ModelDraft
from simulator.experiment.techniques.base import Parts
from simulator.experiment.techniques.registry import technique
from simulator.experiment.techniques.speculation import Acceptance, Speculation, Tokens, without_host
from simulator.model import Linear, Transformer


@technique("eagle")
class Eagle(Speculation):
    """A layer like the model's last one proposes ``tokens``, one after the other; head and embedding are the model's.

    With ``nodes`` the proposals are a tree of so many tokens, verified in one pass; each pass of the draft extends it
    by one level. ``acceptance``: probability that one of the tree's tokens of a depth is right, where those before are;
    a rate, or one for each depth.
    """

    source = "Li et al., EAGLE, arXiv 2401.15077, section 3 (one layer over features and embeddings)"
    changes = "iterations cost a share of a step that drafts and verifies; memory for the layer and its KV"

    def __init__(self, *, acceptance: Acceptance, tokens: Tokens = 4, nodes: Tokens | None = None) -> None:
        super().__init__(acceptance, tokens, nodes)
        self._tokens = tokens

    def draft(self, parts: Parts) -> ModelDraft:
        """Return the layer, with the head, and the product that joins feature and embedding before it."""
        width = -(-self.proposed // self._tokens)
        cost = without_host(parts).cost_of(_one_layer(parts.model))
        return ModelDraft(cost, self._tokens, width, self._joining(parts))

    def held(self, parts: Parts) -> Held:
        """Return the layer's weights and KV; embedding and head are there already."""
        layer, split = _one_layer(parts.model), parts.parallel.tensor
        table = replace(layer, kinds=()).weight_bytes(split)
        weights = layer.weight_bytes(split, parts.parallel.expert) - table
        return Held(weights + self._joining(parts).weight_bytes, layer.kv_bytes_per_token(split))

    def _joining(self, parts: Parts) -> Products:
        hidden = parts.model.hidden
        return Products(parts.profile, parts.engine, [Linear("join", 2 * hidden, hidden // parts.parallel.tensor)])


def _one_layer(model: Transformer) -> Transformer:
    last = replace(model.kinds[model.order[-1]], count=1)
    return replace(model, name=f"{model.name}, one layer", kinds=(last,), order=(0,))
