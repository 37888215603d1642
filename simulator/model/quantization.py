"""What an engine's options ``quantization`` and ``kv_cache_dtype`` make of a model's precision."""

from collections.abc import Sequence
from dataclasses import replace

from simulator.core import InputError, unknown
from simulator.model.shape import Dtype, Experts, KvDtype, LayerKind, Precision

# vLLM's words, and ours where its own don't tell formats apart.
_FORMATS: dict[str, Dtype] = {
    "fp8": "fp8",
    "fp8_block": "fp8_block",
    "int8": "int8",
    "w8a8": "int8",
    "awq": "w4a16",
    "gptq": "w4a16",
    "w4a16": "w4a16",
    "nvfp4": "nvfp4",
    "mxfp4": "mxfp4",
}
_KV_FORMATS: dict[str, KvDtype] = {
    "bfloat16": "bfloat16",
    "fp8": "fp8",
    "fp8_e4m3": "fp8",
    "fp8_e5m2": "fp8",
    "int8": "int8",
    "int4": "int4",
}


def requested(
    name: str, kinds: Sequence[LayerKind], checkpoint: Precision, quantization: str | None, kv_cache_dtype: str
) -> Precision:
    """Return the precision that the options ask for; InputError if the checkpoint is quantized otherwise.

    Without options the checkpoint's own precision holds. "fp8" fits a checkpoint in blocks too, as in vLLM.
    """
    precision = checkpoint if quantization is None else _weights(name, kinds, checkpoint, quantization)
    if kv_cache_dtype == "auto":
        return precision
    if kv_cache_dtype not in _KV_FORMATS:
        raise unknown("kv_cache_dtype", kv_cache_dtype, ["auto", *_KV_FORMATS])
    return replace(precision, kv=_KV_FORMATS[kv_cache_dtype])


def _weights(name: str, kinds: Sequence[LayerKind], checkpoint: Precision, quantization: str) -> Precision:
    if quantization not in _FORMATS:
        raise unknown("quantization", quantization, _FORMATS)
    dtype = _FORMATS[quantization]
    parts = (checkpoint.linear, checkpoint.experts, checkpoint.attention, checkpoint.attention_output)
    own = next((each for each in parts if each != "bfloat16"), None)
    if own is not None:
        if own != dtype and (own, dtype) != ("fp8_block", "fp8"):
            raise InputError(
                f"quantization '{quantization}': {name} is a checkpoint in {own} already",
                hint="leave quantization out, or name the model that is not quantized",
            )
        return checkpoint
    if dtype == "mxfp4":
        if not any(isinstance(kind.mlp, Experts) for kind in kinds):
            raise InputError(f"quantization 'mxfp4' is for experts, and {name} has none", hint="nvfp4 is for all parts")
        return replace(checkpoint, experts=dtype)
    return replace(checkpoint, linear=dtype, experts=dtype, attention=dtype, attention_output=dtype, shared=dtype)
