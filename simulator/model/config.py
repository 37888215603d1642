"""A Hugging Face ``config.json``, its keys checked as they are asked for."""

from collections.abc import Mapping
from typing import Any

from simulator.core import InputError

# Other names that families give to these keys, as in the attribute maps of transformers' configuration classes.
_OTHER_NAMES = {
    "hidden_size": ("n_embed", "n_embd"),
    "num_hidden_layers": ("n_layer", "num_layers"),
    "num_attention_heads": ("n_head",),
    "num_key_value_heads": ("num_kv_heads", "n_head_kv"),
    "intermediate_size": ("ffn_dim", "ffn_hidden_size", "n_inner"),
    "max_position_embeddings": ("n_positions", "seq_length"),
    "num_experts": ("num_local_experts", "n_routed_experts"),
    "num_experts_per_tok": ("experts_per_token",),
}


class Config:
    """A ``config.json`` whose keys are checked as they are asked for; a multimodal model's ``text_config`` counts."""

    def __init__(self, name: str, values: Mapping[str, Any], where: str | None = None) -> None:
        inner = values.get("text_config")
        # What stands beside the text model (a quantization, a dtype) holds for it unless it says otherwise.
        self.values = {**values, **inner} if isinstance(inner, Mapping) else dict(values)
        self.name = name
        self.where = where

    def get(self, key: str, default: Any = None) -> Any:
        """Return a key's value under any of its names, or the default where it is absent or null."""
        for each in (key, *_OTHER_NAMES.get(key, ())):
            if self.values.get(each) is not None:
                return self.values[each]
        return default

    def count(self, key: str, default: int | None = None) -> int:
        """Return a whole number above 0; InputError names a key that is something else or absent."""
        value = self.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error(f"{key} is {value!r}, expected a whole number above 0")
        return value

    def optional(self, key: str) -> int:
        """Return a whole number, or 0 where the key is absent, null or 0."""
        return self.count(key) if self.get(key) not in (None, 0) else 0

    def entries(self, key: str) -> list[Any] | None:
        """Return a list with one entry a layer, or None where the key is absent or empty."""
        layers, value = self.count("num_hidden_layers"), self.get(key)
        if not value:
            return None
        if not isinstance(value, list) or len(value) != layers:
            raise self.error(f"{key} should be a list with one entry for each of the {layers} layers")
        return value

    def listed(self, key: str) -> list[Any] | None:
        """Return a list, or None where the key is absent or null."""
        value = self.get(key)
        if value is not None and not isinstance(value, list):
            raise self.error(f"{key} is {value!r}, expected a list")
        return value

    def error(self, message: str, hint: str | None = None) -> InputError:
        """Return the error that says what is wrong with this configuration."""
        return InputError(f"model {self.name}: {message}", where=self.where, hint=hint)
