"""Attention with a state of constant size in place of keys and values."""

from typing import Annotated

from pydantic import Field

from simulator.core import InputError
from simulator.cost.kv_memory import Held
from simulator.cost.linear_attention import LinearAttention, state_numbers
from simulator.cost.terms import Terms
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique
from simulator.experiment.techniques.speculation import most_running
from simulator.model import KV_BYTES, Attention, Transformer


@technique("linear_attention")
class LinearAttentionLayers(Technique):
    """A ``share`` of the layers keeps a matrix of head size x head size for each KV head, however long the context.

    A decode reads and writes the state; prompts cost 4 * heads * head size^2 FLOPs a token. States are set aside for as
    many requests as the policy runs at most. 1 is a linear transformer, 0.75 what hybrids such as Qwen3-Next have.
    """

    level = "model"
    source = "Katharopoulos et al., arXiv 2006.16236"
    changes = "those layers' attention no longer grows with context; KV bytes a token * (1 - share), and states"
    exclusive = "tokens that attention sees"

    def __init__(self, *, share: Annotated[float, Field(gt=0, le=1)] = 0.75) -> None:
        self._share = share

    def model(self, model: Transformer) -> Transformer:
        """Return the model as it is; InputError unless all its layers have plain attention of one shape."""
        shapes = {kind.attention for kind in model.kinds}
        if len(shapes) > 1 or not all(isinstance(shape, Attention) and not shape.window for shape in shapes):
            raise InputError(f"{model.name} has latent or windowed attention", hint="a model with plain attention")
        return model

    def terms(self, terms: Terms, parts: Parts) -> Terms:
        """Return attention that is linear on a share of the layers."""
        return LinearAttention(terms, parts.model, parts.profile, parts.parallel.tensor, self._layers(parts.model))

    def memory(self, held: Held, parts: Parts) -> Held:
        """Return memory with states for all requests that may run, and less KV a token."""
        changed = self._layers(parts.model)
        each = state_numbers(_attention(parts.model), parts.parallel.tensor) * KV_BYTES[parts.model.precision.kv]
        states = most_running(parts.spec) * each * -(-changed // parts.parallel.pipeline)
        return Held(held.weights + states, held.token * (1 - changed / parts.model.layers))

    def _layers(self, model: Transformer) -> int:
        return max(1, round(self._share * model.layers))


def _attention(model: Transformer) -> Attention:
    attention = model.kinds[0].attention
    assert isinstance(attention, Attention)
    return attention
