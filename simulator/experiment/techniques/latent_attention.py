"""Keys and values from one latent vector a token: multi-head latent attention."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from simulator.core import InputError
from simulator.experiment.techniques.base import Technique
from simulator.experiment.techniques.registry import technique
from simulator.model import Attention, LatentAttention, LayerKind, Transformer


@technique("latent_attention")
class LatentAttentionConversion(Technique):
    """Attention becomes DeepSeek's latent attention with as many heads; the defaults are DeepSeek-V2's ranks.

    A token keeps ``kv_rank + rope`` numbers a layer. A ``query_rank`` of 0 projects queries at once. With the default
    ranks and heads of 128, GPUs whose tables have DeepSeek's measured module use it; else rooflines.
    """

    level = "model"
    source = "DeepSeek-V2, arXiv 2405.04434, section 2.1; conversion: TransMLA, arXiv 2502.07864"
    changes = "KV numbers a token and layer: kv_rank + rope, whatever the heads; other projections"
    exclusive = "heads of keys and values"

    def __init__(
        self,
        *,
        kv_rank: Annotated[int, Field(ge=1)] = 512,
        rope: Annotated[int, Field(ge=1)] = 64,
        query_rank: Annotated[int, Field(ge=0)] = 1536,
    ) -> None:
        self._kv_rank = kv_rank
        self._rope = rope
        self._query_rank = query_rank

    def model(self, model: Transformer) -> Transformer:
        """Return the model with latent attention; InputError where it has it or a window, or would keep more."""
        return replace(model, kinds=tuple(self._latent(model, kind) for kind in model.kinds))

    def _latent(self, model: Transformer, kind: LayerKind) -> LayerKind:
        old = kind.attention
        if not isinstance(old, Attention):
            raise InputError(f"{model.name} has latent attention already")
        if old.window:
            raise InputError(f"{model.name} has layers with a window of {old.window} tokens; latent attention has none")
        new = LatentAttention(
            old.heads, self._query_rank, self._kv_rank, old.head_dim, self._rope, old.value_dim, old.window
        )
        if new.kv_numbers(1) >= old.kv_numbers(1):
            raise InputError(
                f"a latent of {new.kv_numbers(1)} numbers is no smaller than the {old.kv_numbers(1)} of {model.name}",
                hint="a smaller kv_rank",
            )
        return replace(kind, attention=new)
