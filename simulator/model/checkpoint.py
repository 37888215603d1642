"""What a checkpoint's ``quantization_config`` says: which parts are stored in what, and what the KV cache holds."""

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import translate
from typing import Any

from simulator.model.config import Config
from simulator.model.shape import Dtype, Experts, KvDtype, Mlp, Precision

# Modules by which an ignore list names the parts of a layer, as the families call them.
_MODULES = {
    "attention": ("self_attn.q_proj", "self_attn.q_b_proj", "self_attn.qkv_proj"),
    "attention_output": ("self_attn.o_proj",),
    "linear": ("mlp.up_proj", "feed_forward.up_proj"),
    "experts": ("mlp.experts.0.up_proj", "block_sparse_moe.experts.0.w1", "feed_forward.experts.0.up_proj"),
    "shared": ("mlp.shared_experts.up_proj", "mlp.shared_expert.up_proj", "feed_forward.shared_expert.up_proj"),
}
_ROOTS = ("model.", "language_model.model.", "model.language_model.")
_IGNORE_LISTS = ("ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules")


def checkpoint_format(config: Config, mlps: Sequence[Mlp | Experts]) -> tuple[Precision, frozenset[int]]:
    """Return the precision of a checkpoint, and its layers that are not quantized at all.

    A part is quantized if it is so in most of the layers that have it. Embedding and head stay 16 bit, as in every
    format that engines load.
    """
    section = config.get("quantization_config") or config.get("compression_config")
    if not section:
        return Precision(), frozenset()
    if not isinstance(section, Mapping):
        raise config.error(f"quantization_config is {section!r}, expected an object")
    # modelopt's hf_quant_config.json nests what others say at the top.
    inner = section.get("quantization")
    section = {**section, **inner} if isinstance(inner, Mapping) else section
    dtype = _dtype(config, section)
    ignored = [_pattern(config, entry) for key in _IGNORE_LISTS for entry in _list(config, section, key)]
    votes: dict[str, list[bool]] = {part: [] for part in _MODULES}
    sixteen_bit = set()
    for index, mlp in enumerate(mlps):
        kept = {part: _keeps(ignored, index, part) for part in _parts(mlp)}
        if dtype == "mxfp4":  # a format for experts only
            kept = {part: part != "experts" or each for part, each in kept.items()}
        if all(kept.values()):
            sixteen_bit.add(index)
            continue
        for part, each in kept.items():
            votes[part].append(not each)
    parts = {part: dtype for part, each in votes.items() if 2 * sum(each) > len(each)}
    return Precision(**parts, kv=_kv(config, section)), frozenset(sixteen_bit)


def _parts(mlp: Mlp | Experts) -> Iterator[str]:
    yield from ("attention", "attention_output")
    if isinstance(mlp, Mlp):
        yield "linear"
    else:
        yield "experts"
        if mlp.shared_ffn:
            yield "shared"


def _list(config: Config, section: Mapping[str, Any], key: str) -> list[Any]:
    value = section.get(key) or []
    if not isinstance(value, list):
        raise config.error(f"quantization_config.{key} is {value!r}, expected a list")
    return value


def _pattern(config: Config, entry: Any) -> re.Pattern[str]:
    """Return what an ignore list's entry matches in a module's name."""
    text = str(entry)
    if text.startswith("re:"):
        try:
            return re.compile(text[3:])
        except re.error as error:
            raise config.error(f"quantization_config ignores {text!r}: {error}") from None
    # Names in front of the layers differ from engine to engine. An entry stands for all modules below it.
    glob = re.sub(r"^.*?(?=\blayers\.)", "", text)
    return re.compile(r"(.*\.)?" + translate(glob).removesuffix(r"\Z").removesuffix(r"\z") + r"(\.|$)")


def _keeps(ignored: Sequence[re.Pattern[str]], layer: int, part: str) -> bool:
    names = [f"{root}layers.{layer}.{module}" for module in _MODULES[part] for root in _ROOTS]
    return any(pattern.match(name) for pattern in ignored for name in names)


def _dtype(config: Config, section: Mapping[str, Any]) -> Dtype:
    method = str(section.get("quant_method") or section.get("quant_algo") or "").lower()
    if groups := section.get("config_groups"):
        if not isinstance(groups, Mapping) or not all(isinstance(each, Mapping) for each in groups.values()):
            raise config.error("quantization_config.config_groups should be an object of objects")
        dtypes = {_group(config, group) for group in groups.values()}
        if len(dtypes) > 1:
            raise config.error(f"quantization_config mixes {', '.join(sorted(dtypes))}: one format is modelled")
        return dtypes.pop()
    if method == "modelopt":
        method = str(section.get("quant_algo", "")).lower()
    if method in ("fp8", "fbgemm_fp8"):
        return _fp8(config, section.get("weight_block_size"))
    if method in ("awq", "gptq"):
        bits = section.get("bits", section.get("w_bit", 4))
        if bits != 4:
            raise config.error(f"{method} with {bits} bits is not modelled, only with 4")
        return "w4a16"
    named: dict[str, Dtype] = {"mxfp4": "mxfp4", "nvfp4": "nvfp4", "w4a16_awq": "w4a16", "fp8_pb_wo": "fp8_block"}
    if method not in named:
        known = ", ".join(sorted({"awq", "compressed-tensors", "fbgemm_fp8", "fp8", "gptq", "modelopt", *named}))
        raise config.error(f"quantization method {method!r} is not known", hint=f"known: {known}")
    return named[method]


def _fp8(config: Config, block: Any) -> Dtype:
    if not block:
        return "fp8"
    if block != [128, 128]:
        raise config.error(f"weight_block_size {block} is not modelled, only [128, 128]")
    return "fp8_block"


def _group(config: Config, group: Mapping[str, Any]) -> Dtype:
    """Return the format of a group of compressed-tensors or modelopt."""
    weights, inputs = group.get("weights"), group.get("input_activations")
    if not isinstance(weights, Mapping):
        raise config.error("quantization_config.config_groups has a group without weights")
    bits, kind, size = weights.get("num_bits"), weights.get("type"), weights.get("group_size")
    if (bits, kind) == (8, "float"):
        return _fp8(config, weights.get("block_structure"))
    if (bits, kind) == (8, "int") and inputs:
        return "int8"
    if (bits, kind) == (4, "int") and not inputs:
        return "w4a16"
    if (bits, kind) == (4, "float"):
        return "mxfp4" if size == 32 else "nvfp4"
    activations = "quantized" if inputs else "16-bit"
    raise config.error(f"{bits}-bit {kind} weights with {activations} activations are not modelled")


def _kv(config: Config, section: Mapping[str, Any]) -> KvDtype:
    scheme = section.get("kv_cache_scheme") or section.get("kv_cache_quant_algo")
    if not scheme:
        return "bfloat16"
    said = f"{scheme.get('type')}{scheme.get('num_bits')}" if isinstance(scheme, Mapping) else str(scheme).lower()
    named: dict[str, KvDtype] = {"fp8": "fp8", "float8": "fp8", "int8": "int8"}
    if said not in named:
        raise config.error(f"a KV cache of {said} is not modelled", hint="known: fp8, int8")
    return named[said]
