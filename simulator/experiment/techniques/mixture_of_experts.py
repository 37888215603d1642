"""MLPs made into experts, of which each token goes through a few."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from simulator.core import InputError
from simulator.experiment.techniques.base import Technique
from simulator.experiment.techniques.registry import technique
from simulator.model import Experts, LayerKind, Mlp, Transformer


@technique("mixture_of_experts")
class MixtureOfExperts(Technique):
    """Each MLP becomes ``experts``, of which a token is sent to ``top_k``.

    ``upcycled`` ones are each as large as the MLP was: more weights, top_k times the FLOPs. Else the MLP is cut into
    experts (LLaMA-MoE): the same weights, and top_k / experts of the FLOPs. A batch of T tokens reads
    experts * (1 - (1 - top_k / experts)^T) of them: at large batches all.
    """

    level = "model"
    source = "Sparse upcycling, arXiv 2212.05055; LLaMA-MoE, arXiv 2406.16554"
    changes = "MLP FLOPs by top_k, weights in memory by experts; weights read grow with the batch"
    exclusive = "MLP's structure"

    def __init__(
        self,
        *,
        experts: Annotated[int, Field(ge=2)] = 8,
        top_k: Annotated[int, Field(ge=1)] = 2,
        upcycled: bool = False,
    ) -> None:
        if top_k > experts:
            raise InputError(f"top_k {top_k} of {experts} experts", hint="top_k of at most experts")
        self._experts, self._top_k, self._upcycled = experts, top_k, upcycled

    def model(self, model: Transformer) -> Transformer:
        """Return the model with experts; InputError where it has them already or its MLPs do not divide."""
        return replace(model, kinds=tuple(self._routed(model, kind) for kind in model.kinds))

    def _routed(self, model: Transformer, kind: LayerKind) -> LayerKind:
        mlp = kind.mlp
        if not isinstance(mlp, Mlp):
            raise InputError(f"{model.name} has experts already")
        if not self._upcycled and mlp.ffn % self._experts:
            raise InputError(f"{self._experts} experts do not divide the {mlp.ffn} columns of {model.name}'s MLPs")
        ffn = mlp.ffn if self._upcycled else mlp.ffn // self._experts
        return replace(kind, mlp=Experts(self._experts, self._top_k, ffn, mlp.gated))
