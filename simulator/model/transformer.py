"""A decoder-only transformer: parameters, the matrix products of a layer, and how they split over GPUs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from simulator.model.quantization import requested
from simulator.model.shape import (
    KV_BYTES,
    WEIGHT_BYTES,
    Attention,
    Experts,
    LatentAttention,
    LayerKind,
    Linear,
    Mlp,
    Precision,
    Stage,
)
from simulator.model.split import check_split


@dataclass(frozen=True)
class Transformer:
    """A model's shape; norms, biases and learned positions (about 0.1 %) are left out.

    ``order`` holds each layer's index in ``kinds``; left empty, the kinds follow one another. ``qk_norm``: queries and
    keys are normalised, head by head or, with ``norm_across_heads``, over all heads of a layer.
    """

    name: str
    hidden: int
    vocab: int
    tied: bool
    max_model_len: int
    kinds: tuple[LayerKind, ...]
    precision: Precision = field(default_factory=Precision)
    qk_norm: bool = False
    norm_across_heads: bool = False
    order: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.order:
            order = tuple(index for index, kind in enumerate(self.kinds) for _ in range(kind.count))
            object.__setattr__(self, "order", order)

    @property
    def layers(self) -> int:
        """Number of layers."""
        return sum(kind.count for kind in self.kinds)

    @property
    def parameters(self) -> int:
        """Number of weights in matrices and embeddings."""
        inactive = sum(kind.count * _unused_experts(kind.mlp, self.hidden) for kind in self.kinds)
        return self.active_parameters + inactive

    @property
    def active_parameters(self) -> int:
        """Number of weights without the experts that a token is not sent to; embeddings are counted."""
        layers = 0
        for kind in self.kinds:
            used = _expert_weights(kind.mlp, self.hidden) * kind.mlp.top_k if isinstance(kind.mlp, Experts) else 0
            layers += kind.count * (sum(linear.weights for linear in self.linears(kind, 1)) + used)
        return layers + self.vocab * self.hidden * (1 if self.tied else 2)

    def linears(self, kind: LayerKind, tensor_parallel: int = 1) -> tuple[Linear, ...]:
        """Return the dense matrix products of a layer of this kind, on one of the GPUs it is split over.

        The router and the shared expert are among them, routed experts are not.
        """
        precision = self.precision_of(kind)
        if isinstance(kind.attention, Attention):
            attention = _attention(kind.attention, self.hidden, tensor_parallel, precision)
        else:
            attention = _latent_attention(kind.attention, self.hidden, tensor_parallel, precision)
        return attention + _mlp(kind.mlp, self.hidden, tensor_parallel, precision)

    def precision_of(self, kind: LayerKind) -> Precision:
        """Return what a layer's weights are stored in: the model's precision, or 16 bit where it is not quantized."""
        return self.precision if kind.quantized else Precision(kv=self.precision.kv)

    def expert_bytes(self, kind: LayerKind, tensor_parallel: int = 1, expert_parallel: int = 1) -> float:
        """Return the bytes of a layer's routed experts on each GPU.

        ``expert_parallel`` GPUs hold different experts; where it is less than ``tensor_parallel``, each expert is cut
        into ``tensor_parallel / expert_parallel`` parts.
        """
        if not isinstance(kind.mlp, Experts):
            return 0.0
        cuts = max(tensor_parallel, expert_parallel)
        weights = kind.mlp.count * _expert_weights(kind.mlp, self.hidden) / cuts
        return weights * WEIGHT_BYTES[self.precision_of(kind).experts]

    def weight_bytes(self, tensor_parallel: int = 1, expert_parallel: int = 1, pipeline_parallel: int = 1) -> float:
        """Return the bytes of weights, scales included, on a GPU of the fullest pipeline stage."""
        layer = [
            sum(linear.weight_bytes for linear in self.linears(kind, tensor_parallel))
            + self.expert_bytes(kind, tensor_parallel, expert_parallel)
            for kind in self.kinds
        ]
        table = self.vocab * self.hidden / tensor_parallel
        embedding, head = (table * WEIGHT_BYTES[each] for each in (self.precision.embedding, self.precision.head))
        stages = []
        for stage in self.stages(pipeline_parallel):
            size = sum(count * each for count, each in zip(stage.layers, layer, strict=True))
            # A tied head on the embedding's own GPUs is the same table.
            shared = stage.embedding and self.tied
            stages.append(size + embedding * stage.embedding + head * (stage.head and not shared))
        return max(stages)

    def kv_bytes_per_token(self, tensor_parallel: int = 1) -> float:
        """Return the bytes of KV cache that a token takes on each GPU, over all layers, windows ignored."""
        numbers = sum(kind.count * kind.attention.kv_numbers(tensor_parallel) for kind in self.kinds)
        return numbers * KV_BYTES[self.precision.kv]

    def kv_bytes(self, tokens: int, tensor_parallel: int = 1) -> float:
        """Return the bytes that a sequence of so many tokens keeps on each GPU; a layer keeps no more than its window.

        So does vLLM's hybrid KV cache manager; an engine without one keeps ``tokens * kv_bytes_per_token``.
        """
        numbers = 0
        for kind in self.kinds:
            kept = min(tokens, kind.attention.window or tokens)
            numbers += kind.count * kept * kind.attention.kv_numbers(tensor_parallel)
        return numbers * KV_BYTES[self.precision.kv]

    def stages(self, pipeline_parallel: int = 1) -> tuple[Stage, ...]:
        """Return the layers of each pipeline stage, first stage first.

        What does not divide goes to the stages before the last, the last but one first, as in vLLM's get_pp_indices.
        """
        each, rest = divmod(self.layers, pipeline_parallel)
        stages, start = [], 0
        for stage in range(pipeline_parallel):
            last = stage == pipeline_parallel - 1
            end = start + each + (not last and stage >= pipeline_parallel - 1 - rest)
            mine = self.order[start:end]
            counts = tuple(mine.count(kind) for kind in range(len(self.kinds)))
            stages.append(Stage(counts, embedding=stage == 0, head=last))
            start = end
        return tuple(stages)

    def check_split(self, tensor_parallel: int, expert_parallel: int = 1, pipeline_parallel: int = 1) -> None:
        """Raise InputError unless heads, MLPs, experts and layers divide over so many GPUs."""
        check_split(self.name, self.kinds, self.precision_of, tensor_parallel, expert_parallel, pipeline_parallel)

    def with_precision(self, quantization: str | None = None, kv_cache_dtype: str = "auto") -> "Transformer":
        """Return the model quantized as vLLM's options of these names say.

        InputError if the checkpoint is quantized otherwise, or has no part that this format is for.
        """
        return replace(self, precision=requested(self.name, self.kinds, self.precision, quantization, kv_cache_dtype))

    @classmethod
    def from_config(cls, name: str, config: Mapping[str, Any], where: str | None = None) -> "Transformer":
        """Return the shape in a Hugging Face ``config.json``; InputError names a missing or unsupported key."""
        from simulator.model.read_config import read_config

        return read_config(name, config, where)


def _attention(shape: Attention, hidden: int, tensor_parallel: int, precision: Precision) -> tuple[Linear, ...]:
    heads, kv_heads = shape.heads // tensor_parallel, shape.kv_heads_each(tensor_parallel)
    outputs = heads * shape.head_dim + kv_heads * (shape.head_dim + shape.value_dim)
    return (
        Linear("qkv", hidden, outputs, precision.attention),
        Linear("attention_output", heads * shape.value_dim, hidden, precision.attention_output),
    )


def _latent_attention(
    shape: LatentAttention, hidden: int, tensor_parallel: int, precision: Precision
) -> tuple[Linear, ...]:
    heads, latent, dtype = shape.heads // tensor_parallel, shape.kv_lora_rank + shape.rope_dim, precision.attention
    queries = heads * (shape.nope_dim + shape.rope_dim)
    # Down-projections are whole on every GPU; engines run both as one product.
    return (
        Linear("latent_down", hidden, shape.q_lora_rank + latent, dtype),
        Linear("query_up", shape.q_lora_rank or hidden, queries, dtype),
        # A decoding token's queries and values go through these weights, absorbed: the same FLOPs and bytes.
        Linear("latent_up", shape.kv_lora_rank, heads * (shape.nope_dim + shape.value_dim), dtype),
        Linear("attention_output", heads * shape.value_dim, hidden, precision.attention_output),
    )


def _mlp(shape: Mlp | Experts, hidden: int, tensor_parallel: int, precision: Precision) -> tuple[Linear, ...]:
    up = 2 if shape.gated else 1
    if isinstance(shape, Mlp):
        ffn, dtype = shape.ffn // tensor_parallel, precision.linear
        return Linear("mlp_up", hidden, up * ffn, dtype), Linear("mlp_down", ffn, hidden, dtype)
    router = Linear("router", hidden, shape.count)
    if not shape.shared_ffn:
        return (router,)
    ffn, dtype = shape.shared_ffn // tensor_parallel, precision.shared
    return router, Linear("shared_up", hidden, up * ffn, dtype), Linear("shared_down", ffn, hidden, dtype)


def _expert_weights(shape: Experts, hidden: int) -> int:
    return (3 if shape.gated else 2) * hidden * shape.ffn


def _unused_experts(shape: Mlp | Experts, hidden: int) -> int:
    return _expert_weights(shape, hidden) * (shape.count - shape.top_k) if isinstance(shape, Experts) else 0
