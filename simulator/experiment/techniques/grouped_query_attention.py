"""Fewer heads of keys and values: grouped-query and multi-query attention."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from simulator.core import InputError
from simulator.experiment.techniques.base import Technique
from simulator.experiment.techniques.registry import technique
from simulator.model import Attention, LayerKind, Transformer


@technique("grouped_query_attention")
class GroupedQueryAttention(Technique):
    """Query heads share ``kv_heads`` heads of keys and values, as if the model had been trained or converted so.

    1 is multi-query attention. KV bytes a token become kv_heads / (heads of keys and values now).
    """

    level = "model"
    source = "GQA, arXiv 2305.13245; MQA, arXiv 1911.02150"
    changes = "KV bytes and reads * kv_heads / those before; smaller projections of keys and values"
    exclusive = "heads of keys and values"

    def __init__(self, *, kv_heads: Annotated[int, Field(ge=1)] = 1) -> None:
        self._kv_heads = kv_heads

    def model(self, model: Transformer) -> Transformer:
        """Return the model with fewer KV heads; InputError where it has latent attention, or as few already."""
        return replace(model, kinds=tuple(self._grouped(model, kind) for kind in model.kinds))

    def _grouped(self, model: Transformer, kind: LayerKind) -> LayerKind:
        attention = kind.attention
        if not isinstance(attention, Attention):
            raise InputError(f"{model.name} has latent attention, which has no heads of keys and values to group")
        if self._kv_heads >= attention.kv_heads:
            raise InputError(
                f"{self._kv_heads} KV heads are no fewer than the {attention.kv_heads} of {model.name}",
                hint="a smaller kv_heads, or a model with more",
            )
        if attention.heads % self._kv_heads:
            raise InputError(f"{self._kv_heads} KV heads do not divide the {attention.heads} heads of {model.name}")
        return replace(kind, attention=replace(attention, kv_heads=self._kv_heads))
