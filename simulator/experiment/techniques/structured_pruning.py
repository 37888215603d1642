"""Whole heads, columns and layers left out of a model."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from simulator.core import InputError
from simulator.experiment.techniques.base import Technique
from simulator.experiment.techniques.registry import technique
from simulator.model import Attention, LayerKind, Mlp, Transformer

Share = Annotated[float, Field(ge=0, lt=1)]


@technique("structured_pruning")
class StructuredPruning(Technique):
    """Shares of the MLPs' columns (``ffn``), of the attention heads by groups (``heads``) and of the ``layers`` go.

    What is left is rounded: groups of heads to whole ones, columns to multiples of 128, layers to whole ones. Kernels
    stay dense, at the sizes that are left.
    """

    level = "model"
    source = "LLM-Pruner, arXiv 2305.11627; Sheared LLaMA, arXiv 2310.06694"
    changes = "sizes of matrix products, heads of attention, layers: weights, FLOPs and KV"
    exclusive = "size of the model"

    def __init__(self, *, ffn: Share = 0.25, heads: Share = 0.25, layers: Share = 0.0) -> None:
        self._ffn, self._heads, self._layers = 1 - ffn, 1 - heads, 1 - layers

    def model(self, model: Transformer) -> Transformer:
        """Return the smaller model; InputError where it has experts or latent attention, or nothing is left."""
        kinds = tuple(self._pruned(model, kind) for kind in model.kinds)
        return replace(model, kinds=kinds, order=() if self._layers < 1 else model.order)

    def _pruned(self, model: Transformer, kind: LayerKind) -> LayerKind:
        attention, mlp = kind.attention, kind.mlp
        if not isinstance(attention, Attention) or not isinstance(mlp, Mlp):
            raise InputError(f"{model.name} has experts or latent attention, which this prunes none of")
        groups = max(1, round(self._heads * attention.kv_heads))
        return replace(
            kind,
            count=max(1, round(self._layers * kind.count)),
            attention=replace(attention, heads=attention.heads // attention.kv_heads * groups, kv_heads=groups),
            mlp=replace(mlp, ffn=max(128, round(self._ffn * mlp.ffn / 128) * 128) if self._ffn < 1 else mlp.ffn),
        )
