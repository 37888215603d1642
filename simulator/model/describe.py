"""A model's shape as a row of a listing."""

from typing import Any

from simulator.model.shape import Attention, Experts, LatentAttention
from simulator.model.transformer import Transformer


def describe_model(model: Transformer) -> dict[str, Any]:
    """Return a row of numbers; None where a model has no such thing (``latent`` is what MLA caches a token and layer).

    ``weights`` is the format of the quantized parts; ``window`` is that of the ``windowed_layers``.
    """
    precision = model.precision
    formats = (precision.attention, precision.linear, precision.experts)
    attention = model.kinds[0].attention
    experts = next((kind.mlp for kind in model.kinds if isinstance(kind.mlp, Experts)), None)
    windowed = [kind for kind in model.kinds if kind.attention.window]
    return {
        "name": model.name,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "layers": model.layers,
        "hidden": model.hidden,
        "heads": attention.heads,
        "kv_heads": attention.kv_heads if isinstance(attention, Attention) else None,
        "latent": attention.kv_numbers(1) if isinstance(attention, LatentAttention) else None,
        "window": windowed[0].attention.window if windowed else None,
        "windowed_layers": sum(kind.count for kind in windowed),
        "experts": experts and experts.count,
        "top_k": experts and experts.top_k,
        "vocab": model.vocab,
        "max_model_len": model.max_model_len,
        "weights": next((each for each in formats if each != "bfloat16"), "bfloat16"),
        "kv_cache": precision.kv,
        "weight_bytes": round(model.weight_bytes()),
        "kv_bytes_per_token": round(model.kv_bytes_per_token()),
    }
