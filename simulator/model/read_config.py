"""From a ``config.json`` to a model: what is refused, and which layers are alike."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simulator.model.checkpoint import checkpoint_format
from simulator.model.config import Config
from simulator.model.families import FAMILIES, Layer
from simulator.model.shape import Experts, LayerKind
from simulator.model.transformer import Transformer

_SIXTEEN_BIT = ("bfloat16", "float16", "float32")  # engines load float32 checkpoints as 16 bit
# Keys that only models with Mamba, linear attention or other recurrent layers have.
_HYBRID = (
    "hybrid_override_pattern", "mamba_num_heads", "mamba_d_state", "mamba_n_heads", "ssm_state_size", "ssm_cfg",
    "state_size", "linear_num_key_heads", "layers_block_type", "block_types",
)  # fmt: skip


def read_config(name: str, values: Mapping[str, Any], where: str | None = None) -> Transformer:
    """Return the shape in a ``config.json``; InputError names a missing, contradictory or unsupported key."""
    config = Config(name, values, where)
    _refuse_hybrids(config)
    if (kind := config.get("model_type")) not in list(FAMILIES):
        raise config.error(f"model_type {kind!r} is not known", hint=f"known: {', '.join(sorted(FAMILIES))}")
    family = FAMILIES[kind]
    dtype = config.get("torch_dtype") or config.get("dtype") or "bfloat16"
    if dtype not in _SIXTEEN_BIT:
        raise config.error(f"dtype {dtype!r} is not known", hint=f"known: {', '.join(_SIXTEEN_BIT)}")
    layers = [family.layer(config, index) for index in range(config.count("num_hidden_layers"))]
    if config.get("num_experts") and not any(isinstance(layer.mlp, Experts) for layer in layers):
        raise config.error(f"{config.get('num_experts')} experts, which {kind} models don't have")
    precision, sixteen_bit = checkpoint_format(config, [layer.mlp for layer in layers])
    return Transformer(
        name=name,
        hidden=config.count("hidden_size"),
        vocab=config.count("vocab_size", family.defaults.get("vocab_size")),
        tied=bool(config.get("tie_word_embeddings", family.tied)),
        max_model_len=config.count("max_position_embeddings", family.defaults.get("max_position_embeddings")),
        precision=precision,
        qk_norm=family.normalizes_queries(config),
        norm_across_heads=family.normalizes_across_heads(config),
        **_kinds(layers, sixteen_bit),
    )


def _kinds(layers: list[Layer], sixteen_bit: frozenset[int]) -> dict[str, Any]:
    """Group the layers that are alike, and keep which layer is of which kind."""
    each = [
        LayerKind(1, layer.attention, layer.mlp, layer.parallel, quantized=index not in sixteen_bit)
        for index, layer in enumerate(layers)
    ]
    counts = Counter(each)
    kinds = list(counts)
    return {
        "kinds": tuple(replace(kind, count=count) for kind, count in counts.items()),
        "order": tuple(kinds.index(kind) for kind in each),
    }


def _refuse_hybrids(config: Config) -> None:
    types = config.listed("layer_types") or ()
    found = next((key for key in _HYBRID if config.get(key)), None)
    if any("attention" not in str(each) or "linear" in str(each) for each in types):
        found = "layer_types"
    if 0 in (config.listed("attn_type_list") or ()):
        found = "attn_type_list"
    if found:
        raise config.error(
            f"{found} says that some layers are Mamba or linear attention, which keep a state of fixed size instead "
            "of keys and values; only attention layers are modelled"
        )
