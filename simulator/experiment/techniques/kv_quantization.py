"""Keys and values in 8 or 4 bits."""

from typing import Literal

from simulator.core import InputError
from simulator.experiment.schema import InstanceSpec
from simulator.experiment.techniques.base import Technique
from simulator.experiment.techniques.registry import technique


@technique("kv_quantization")
class KvQuantization(Technique):
    """The KV cache in ``format``: bytes of decode attention and of KV blocks, and what travels between instances."""

    level = "model"
    source = "KIVI arXiv 2402.02750 (int4, int8); vLLM's kv_cache_dtype (fp8)"
    changes = "bytes of KV a token: decode attention, KV blocks that fit, KV sent to other instances"
    exclusive = "format of the KV cache"

    def __init__(self, *, format: Literal["fp8", "int8", "int4"] = "fp8") -> None:
        self._format = format

    def instance(self, spec: InstanceSpec) -> InstanceSpec:
        """Return the instance with ``kv_cache_dtype`` set; InputError if its YAML sets one."""
        if spec.kv_cache_dtype != "auto":
            raise InputError(
                f"KV quantized twice: {self._format}, and the instance's own kv_cache_dtype {spec.kv_cache_dtype}",
                hint="keep one of them",
            )
        return spec.model_copy(update={"kv_cache_dtype": self._format})
