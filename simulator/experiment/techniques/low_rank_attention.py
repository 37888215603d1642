"""Keys and values projected to a fixed number of rows along the sequence."""

from typing import Annotated

from pydantic import Field

from simulator.cost.changed_linears import AddedLinears
from simulator.cost.kv_memory import Held
from simulator.cost.terms import Terms
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique
from simulator.experiment.techniques.windows import kept_share, with_window
from simulator.model import Linear, Transformer


@technique("low_rank_attention")
class LowRankAttention(Technique):
    """Queries attend to ``rank`` projected keys and values, as in Linformer, in all layers.

    Each new token's key and value are added to the rank rows, with weights by position: two matrices of longest
    context x rank a layer, and 2 * rank FLOPs for each number of key and value.
    """

    level = "model"
    source = "Linformer, arXiv 2006.04768"
    changes = "attention over min(context, rank) tokens, KV of so many; a projection for each token"
    exclusive = "tokens that attention sees"

    def __init__(self, *, rank: Annotated[int, Field(ge=1)] = 256) -> None:
        self._rank = rank

    def model(self, model: Transformer) -> Transformer:
        """Return the model whose queries see rank tokens; InputError where it has latent attention."""
        return with_window(model, self._rank, 1.0)

    def terms(self, terms: Terms, parts: Parts) -> Terms:
        """Return the terms with the projection of keys and values."""
        split = parts.parallel.tensor
        products = [
            (kind.count, Linear("sequence", kind.attention.kv_numbers(split), self._rank)) for kind in parts.model.kinds
        ]
        return AddedLinears(terms, "projection along the sequence", parts.profile, parts.engine, products)

    def memory(self, held: Held, parts: Parts) -> Held:
        """Return memory with the projections' weights and what a token keeps on average."""
        layers = -(-parts.model.layers // parts.parallel.pipeline)
        projections = 2 * 2.0 * self._rank * parts.model.max_model_len * layers
        return Held(held.weights + projections, held.token * kept_share(parts.model, parts.workload))
