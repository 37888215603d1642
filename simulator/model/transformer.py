"""A dense decoder-only transformer's shape: weights, KV bytes, and its matrix products."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from simulator.core import InputError

# Families whose blocks are: attention with four projections, then an MLP of three (gated) or two matrices.
_GATED = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_PLAIN = frozenset({"opt"})
_NOT_DENSE = ("num_local_experts", "num_experts", "n_routed_experts", "kv_lora_rank")
_BYTES = {"bfloat16": 2, "float16": 2, "float32": 2}  # engines load float32 checkpoints as 16 bit


class Linear(NamedTuple):
    """A matrix product ``y[m, outputs] = x[m, inputs] W`` of each layer."""

    name: str
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Transformer:
    """The shape of a dense model; ``weight_bytes_each`` and ``kv_bytes_each`` are bytes a number."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    gated: bool
    vocab: int
    tied: bool
    max_model_len: int
    weight_bytes_each: int = 2
    kv_bytes_each: int = 2

    @property
    def parameters(self) -> int:
        """Number of weights in matrices and embeddings; norms, biases and learned positions (< 0.1 %) are left out."""
        layer = sum(linear.inputs * linear.outputs for linear in self.linears(1))
        return self.layers * layer + self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values that a token keeps in the cache, over all layers and heads."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.kv_bytes_each

    def kv_heads_each(self, tensor_parallel: int) -> int:
        """KV heads on each GPU; those of a model with fewer than GPUs are replicated."""
        return max(1, self.kv_heads // tensor_parallel)

    def linears(self, tensor_parallel: int) -> tuple[Linear, ...]:
        """Return a layer's matrix products on one of the GPUs it is split over."""
        heads, ffn = self.heads // tensor_parallel, self.ffn // tensor_parallel
        return (
            Linear("qkv", self.hidden, (heads + 2 * self.kv_heads_each(tensor_parallel)) * self.head_dim),
            Linear("attention_output", heads * self.head_dim, self.hidden),
            Linear("mlp_up", self.hidden, (2 if self.gated else 1) * ffn),
            Linear("mlp_down", ffn, self.hidden),
        )

    def check_split(self, tensor_parallel: int) -> None:
        """Raise InputError unless heads, MLP and KV heads divide over that many GPUs."""
        for what, count in (("attention heads", self.heads), ("MLP columns", self.ffn)):
            if count % tensor_parallel:
                raise InputError(f"tensor_parallel {tensor_parallel} does not divide the {count} {what} of {self.name}")
        if self.kv_heads % tensor_parallel and tensor_parallel % self.kv_heads:
            raise InputError(
                f"tensor_parallel {tensor_parallel} neither divides the {self.kv_heads} KV heads of {self.name} "
                "nor is a multiple of them"
            )

    @classmethod
    def from_config(cls, name: str, config: Mapping[str, Any], where: str | None = None) -> "Transformer":
        """Return the shape in a Hugging Face ``config.json``; InputError names a missing or unsupported key."""

        def need(key: str) -> int:
            value = config.get(key)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"model {name}: {key} is {value!r}, expected a whole number above 0", where=where)
            return value

        family = config.get("model_type")
        if odd := [key for key in _NOT_DENSE if config.get(key)]:
            raise InputError(f"model {name} has {odd[0]}: only dense models are modelled yet", where=where)
        if config.get("quantization_config"):
            raise InputError(f"model {name} is quantized: only 16-bit weights are modelled yet", where=where)
        if family not in _GATED | _PLAIN:
            known = ", ".join(sorted(_GATED | _PLAIN))
            raise InputError(f"model {name}: model_type {family!r} is not known", where=where, hint=f"known: {known}")
        dtype = config.get("torch_dtype") or config.get("dtype") or "bfloat16"
        if dtype not in _BYTES:
            known = ", ".join(_BYTES)
            raise InputError(f"model {name}: dtype {dtype!r} is not known", where=where, hint=f"known: {known}")
        heads, hidden = need("num_attention_heads"), need("hidden_size")
        return cls(
            name=name,
            layers=need("num_hidden_layers"),
            hidden=hidden,
            heads=heads,
            kv_heads=need("num_key_value_heads") if config.get("num_key_value_heads") else heads,
            head_dim=need("head_dim") if config.get("head_dim") else hidden // heads,
            ffn=need("ffn_dim" if family in _PLAIN else "intermediate_size"),
            gated=family in _GATED,
            vocab=need("vocab_size"),
            tied=bool(config.get("tie_word_embeddings", family in _PLAIN)),
            max_model_len=need("max_position_embeddings"),
            weight_bytes_each=_BYTES[dtype],
        )
