"""The parts of a transformer: attention, MLP or experts, and the precision that each part's weights have."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Dtype: TypeAlias = Literal["bfloat16", "fp8", "fp8_block", "int8", "w4a16", "nvfp4", "mxfp4"]
KvDtype: TypeAlias = Literal["bfloat16", "fp8", "int8", "int4"]

# Bytes a weight, its share of the scales included: fp8_block has a float32 for 128 x 128 weights, w4a16 a 16-bit scale
# and a 4-bit zero for 128, nvfp4 an 8-bit scale for 16, mxfp4 one for 32. One scale a matrix or a column is no share.
WEIGHT_BYTES: dict[Dtype, float] = {
    "bfloat16": 2.0,
    "fp8": 1.0,
    "fp8_block": 1.0 + 4 / (128 * 128),
    "int8": 1.0,
    "w4a16": 0.5 + 2.5 / 128,
    "nvfp4": 0.5 + 1 / 16,
    "mxfp4": 0.5 + 1 / 32,
}
KV_BYTES: dict[KvDtype, float] = {"bfloat16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5}
FP8_BLOCK = 128  # rows and columns of an fp8_block scale; a GPU's share of a matrix must hold whole blocks


@dataclass(frozen=True)
class Precision:
    """What the weights of each part are stored and multiplied in, and what the KV cache holds.

    ``linear`` are MLPs, ``attention`` the projections into it, ``attention_output`` the one out of it, ``shared`` the
    shared expert; the router is always 16 bit.
    """

    linear: Dtype = "bfloat16"
    experts: Dtype = "bfloat16"
    head: Dtype = "bfloat16"
    kv: KvDtype = "bfloat16"
    embedding: Dtype = "bfloat16"
    attention: Dtype = "bfloat16"
    attention_output: Dtype = "bfloat16"
    shared: Dtype = "bfloat16"


@dataclass(frozen=True)
class Attention:
    """Heads of queries that share ``kv_heads`` of keys and values; a ``window`` of 0 sees everything."""

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    window: int = 0

    def kv_heads_each(self, tensor_parallel: int) -> int:
        """Return the KV heads on each GPU; those of a model with fewer than GPUs are replicated."""
        return max(1, self.kv_heads // tensor_parallel)

    def kv_numbers(self, tensor_parallel: int) -> int:
        """Return how many numbers a token keeps in each GPU's cache, in one layer."""
        return self.kv_heads_each(tensor_parallel) * (self.head_dim + self.value_dim)


@dataclass(frozen=True)
class LatentAttention:
    """DeepSeek's multi-head latent attention: keys and values are made from one cached latent vector a token.

    ``q_lora_rank`` 0 means queries are projected at once. A head has ``nope_dim`` + ``rope_dim`` numbers of query and
    key, and ``value_dim`` of value.
    """

    heads: int
    q_lora_rank: int
    kv_lora_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int
    window: int = 0

    def kv_numbers(self, tensor_parallel: int) -> int:
        """Return how many numbers a token keeps in each GPU's cache, in one layer; every GPU has all of them."""
        return self.kv_lora_rank + self.rope_dim


@dataclass(frozen=True)
class Mlp:
    """Two matrices, or three if ``gated``, between ``hidden`` and ``ffn``."""

    ffn: int
    gated: bool


@dataclass(frozen=True)
class Experts:
    """``count`` MLPs of which a token is sent to ``top_k``, and one of ``shared_ffn`` (0: none) that all go through."""

    count: int
    top_k: int
    ffn: int
    gated: bool
    shared_ffn: int = 0


@dataclass(frozen=True)
class LayerKind:
    """``count`` layers that are alike.

    ``parallel``: attention and MLP read one norm and share one all-reduce (Falcon, GPT-J). Layers that are not
    ``quantized`` keep 16-bit weights whatever the model's precision is.
    """

    count: int
    attention: Attention | LatentAttention
    mlp: Mlp | Experts
    parallel: bool = False
    quantized: bool = True


class Linear(NamedTuple):
    """A matrix product ``y[m, outputs] = x[m, inputs] W`` on one GPU, W stored as ``dtype``."""

    name: str
    inputs: int
    outputs: int
    dtype: Dtype = "bfloat16"

    @property
    def weights(self) -> int:
        """Numbers in W."""
        return self.inputs * self.outputs

    @property
    def weight_bytes(self) -> float:
        """Bytes of W with its scales."""
        return self.weights * WEIGHT_BYTES[self.dtype]


class Stage(NamedTuple):
    """One pipeline stage: its layers of each kind (in the order of ``kinds``), and what it has beside them."""

    layers: tuple[int, ...]
    embedding: bool
    head: bool
