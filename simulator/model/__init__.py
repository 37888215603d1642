"""Transformers' shapes: from a Hugging Face ``config.json`` to parameters, matrix products and bytes."""

from simulator.model.registry import known_models, known_name, load_model
from simulator.model.shape import (
    KV_BYTES,
    WEIGHT_BYTES,
    Attention,
    Dtype,
    Experts,
    KvDtype,
    LatentAttention,
    LayerKind,
    Linear,
    Mlp,
    Precision,
    Stage,
)
from simulator.model.transformer import Transformer

__all__ = [
    "Attention",
    "Dtype",
    "Experts",
    "KV_BYTES",
    "KvDtype",
    "LatentAttention",
    "LayerKind",
    "Linear",
    "Mlp",
    "Precision",
    "Stage",
    "Transformer",
    "WEIGHT_BYTES",
    "known_models",
    "known_name",
    "load_model",
]
