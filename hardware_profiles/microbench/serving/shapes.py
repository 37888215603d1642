"""Shapes of Llama-like models that the server can take, as their ``config.json`` has them."""

import json
from pathlib import Path
from typing import Any

KNOWN: dict[str, dict[str, Any]] = {
    # As meta-llama/Llama-3.1-8B.
    "llama-3.1-8b": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    },
    # Nobody's model: small enough for a processor, and its products are within what the twin measures there.
    "tiny": {
        "model_type": "llama", "hidden_size": 1024, "intermediate_size": 1024, "num_hidden_layers": 4,
        "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 2048, "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
    },
}  # fmt: skip
_NEEDED = [name for name in KNOWN["tiny"] if name not in ("model_type", "tie_word_embeddings")]


def load_shape(name: str) -> dict[str, Any]:
    """Return a known shape, or the one in a Hugging Face ``config.json``; ValueError says what is wrong with it."""
    if name in KNOWN:
        return KNOWN[name]
    if not name.endswith(".json"):
        raise ValueError(f"no shape is called '{name}'; known: {', '.join(KNOWN)}, or the path of a config.json")
    try:
        shape = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None
    if missing := [each for each in _NEEDED if each not in shape]:
        raise ValueError(f"{name}: has no {missing[0]}")
    if shape.get("num_local_experts") or shape.get("quantization_config") or shape.get("sliding_window"):
        raise ValueError(f"{name}: only dense Llama-like models in 16 bits, without a window")
    return dict(shape)


def kv_bytes(shape: dict[str, Any]) -> int:
    """Return the bytes of one token in the KV cache, in bf16."""
    return int(4 * shape["num_hidden_layers"] * shape["num_key_value_heads"] * head_dim(shape))


def head_dim(shape: dict[str, Any]) -> int:
    """Return the size of an attention head."""
    return int(shape.get("head_dim") or shape["hidden_size"] // shape["num_attention_heads"])
