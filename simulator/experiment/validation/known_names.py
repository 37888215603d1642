"""Measured files name models and GPUs as Hugging Face and drivers do; the registries have names of their own."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from simulator.core import InputError
from simulator.hardware.registry import known_profiles
from simulator.model.registry import known_models, known_name, known_source, load_model, model_names
from simulator.model.shape import Precision

# What files call a format, by what the engines' option is called; 16 bit is None.
_FORMATS: dict[str, str | None] = {
    "fp8": "fp8", "float8": "fp8", "fp8_e4m3": "fp8", "fp8_static": "fp8", "fp8_ootb": "fp8", "fp8_dynamic": "fp8",
    "fbgemm_fp8": "fp8", "fp8_block": "fp8_block", "fp8_blockwise": "fp8_block", "fp8_block_wise": "fp8_block",
    "nvfp4": "nvfp4", "fp4": "nvfp4", "modelopt_fp4": "nvfp4",
    "mxfp4": "mxfp4", "w4a16_mxfp4": "mxfp4", "w4a8_mxfp4_mxfp8": "mxfp4",
    "awq": "awq", "awq_marlin": "awq", "gptq": "gptq", "gptq_marlin": "gptq",
    "w4a16": "w4a16", "int4": "w4a16", "int4_wo": "w4a16", "int8": "int8", "w8a8": "int8", "sq": "int8",
    # These say who packed the weights, not in what: the checkpoint's name does.
    "modelopt": None, "compressed_tensors": None,
    "": None, "bfloat16": None, "bf16": None, "float16": None, "fp16": None, "half": None, "auto": None,
}  # fmt: skip
_BITS = {"fp8": 8, "fp8_block": 8, "int8": 8, "nvfp4": 4, "mxfp4": 4, "awq": 4, "gptq": 4, "w4a16": 4, "bfloat16": 16}
# What checkpoints of one shape differ in: precision, packing, tuning, date.
_IN_NAMES = ("nvfp4", "mxfp4", "fp8", "fp4", "awq", "gptq", "w4a16", "w8a8", "int4", "int8")
_SIXTEEN_BIT = ("bf16", "fp16")
_PACKING = "|".join((*_IN_NAMES, *_SIXTEEN_BIT))
_TUNING = rf"(?:quantized\.)?(?:{_PACKING})|instruct|chat|hf|it|base|thinking|dynamic|block|kv|\d{{4}}"
_SUFFIX = re.compile(rf"-(?:{_TUNING}|(?:{_PACKING})-v\d)$")
_PREFIX = re.compile(r"^(?:meta-llama-(?=llama)|meta-(?=llama)|nvidia-)")
# Shapes whose published generation_config.json asks for top-p, which vLLM does where a request says nothing else. Where
# it does not (Code Llama, Mixtral, gpt-oss), tokens are drawn from all, at temperature 1.
_TOP_P = ("llama-2", "llama-3", "llama-4", "qwen2.5", "qwen3", "gemma-3", "minimax-m2", "deepseek-v3", "deepseek-r1")
# What marks a GPU that has the name of a profile's in its own, and other memory, clocks or links.
_OTHER_GPU = re.compile(r"gh200|\bmig\b|laptop|max-?q|4090[ _-]?d\b|(?<!\d)40 ?gb?\b")
_NOT_SXM = re.compile(r"pcie|nvl(?!ink)")


class NotCovered(InputError):
    """A measured thing that there is no model or hardware profile for: a gap in coverage, no mistake in a file."""


class Checkpoint(NamedTuple):
    """A known model, and the quantization to ask the engine for where the checkpoint is not quantized itself."""

    model: str
    quantization: str | None


def checkpoint_named(name: str, precision: str = "") -> Checkpoint:
    """Return what is known for a checkpoint's name (``org/Model-8B-Instruct-FP8``) or a ``config.json``.

    ``precision`` (fp8, nvfp4, ...) says what it ran in where the name does not. NotCovered where no known model has
    its shape, or it is known in another precision only.
    """
    name, precision = name.strip(), precision.strip().lower().replace("-", "_")
    model = name if Path(name).suffix == ".json" else _model_named(name)
    words = re.split(r"[^a-z0-9]", name.rpartition("/")[2].lower())
    said = next((word for word in _IN_NAMES if word in words), None)
    wanted = _FORMATS[said] if said else _FORMATS.get(precision, precision)
    own = load_model(model).precision
    if own != Precision():
        sixteen = said is None and any(word in words for word in _SIXTEEN_BIT)
        return _as_published(name, model, own, "bfloat16" if sixteen else wanted, bool(said) or sixteen)
    if wanted is None:
        return Checkpoint(model, None)
    published = _published(model, wanted)
    if published is None or (said and "kv" not in words and _by_others(name, published)):
        return Checkpoint(model, wanted)
    return Checkpoint(published, None)


def default_sampling(model: str) -> str:
    """Return how vLLM chooses the tokens of a known model where requests do not say."""
    return "top_p" if model.startswith(_TOP_P) else "random"


def _as_published(name: str, model: str, own: Precision, wanted: str | None, named: bool) -> Checkpoint:
    """Return a model that is published quantized; NotCovered where a checkpoint of other width is meant.

    Files say ``fp8`` of 4-bit weights whose activations are; fewer bits than the checkpoint's are another checkpoint.
    """
    parts = (own.experts, own.linear, own.attention)
    dtype = next(each for each in parts if each != "bfloat16")
    asked, has = _BITS.get(wanted or "", _BITS[dtype]), _BITS[dtype]
    if asked < has or (named and asked != has):
        if wanted and (published := _published(model, wanted)):
            return Checkpoint(published, None)
        raise NotCovered(f"model '{name}' is known in {dtype}, not in {wanted}")
    return Checkpoint(model, None)


def _published(model: str, wanted: str) -> str | None:
    """Return the known checkpoint of a model in a precision; fp8 in blocks is called fp8, too."""
    names = (f"{model}-{wanted}", f"{model}-fp8" if wanted == "fp8_block" else "")
    found = next((each for each in names if each in known_models()), None)
    if found is None or wanted != "fp8_block":
        return found
    own = load_model(found).precision
    return found if "fp8_block" in (own.linear, own.experts) else None


def _by_others(name: str, published: str) -> bool:
    """Tell whether a repository is of another owner than the known checkpoint, and packed in another way then.

    Qwen's FP8 is in blocks and that of others by tensor; NVIDIA's has an FP8 KV cache, which others call FP8-KV.
    """
    owner = name.rpartition("/")[0].rpartition("/")[2].lower()
    return bool(owner) and owner != known_source(published).partition("/")[0].lower()


def _model_named(name: str) -> str:
    if (known := known_name(name)) is not None:
        return known
    by_plain: dict[str, str] = {}
    for known_as, model in model_names().items():
        if not _is_packing(model):
            by_plain.setdefault(_plain(_tail(known_as)), model)
    for form in _forms(_tail(name)):
        if (plain := _plain(form)) in by_plain:
            return by_plain[plain]
    raise NotCovered(f"model '{name}' is not known", hint="known: " + ", ".join(known_models()))


def _is_packing(model: str) -> bool:
    """Tell whether a known name is another one's in another precision."""
    base, _, last = model.rpartition("-")
    return last in _IN_NAMES and base in known_models()


def _tail(name: str) -> str:
    """Return what a repository, a folder or a cache entry (``models--org--model``) calls the model."""
    tail = name.rstrip("/").rpartition("/")[2].rpartition("--")[2]
    return _PREFIX.sub("", tail.lower().replace("_", "-"))


def _forms(tail: str) -> Iterator[str]:
    """Yield a name, then without one ending after the other, then without any word of tuning or packing in it."""
    shorter = tail
    while True:
        yield shorter
        cut = _SUFFIX.sub("", shorter)
        if cut == shorter:
            break
        shorter = cut
    yield "-".join(word for word in tail.split("-") if not re.fullmatch(_TUNING, word))


def hardware_named(name: str) -> str:
    """Return the profile for a GPU as a driver or a folder names it: ``NVIDIA GeForce RTX 4090``, ``RTX4090_Llama``.

    NotCovered where no profile's name occurs in it, or the GPU is a variant with other memory, clocks or links.
    """
    known, name = known_profiles(), name.strip()
    if name in known or Path(name).suffix in (".yaml", ".yml"):
        return name
    wanted = _plain(name)
    # h100_sxm is found by h100_sxm and by h100; longer names come first, so that h100_nvl is not taken for h100_sxm.
    names = sorted(((_plain(known_as), profile) for profile in known for known_as in _aliases(profile)), reverse=True)
    for known_as, profile in sorted(names, key=lambda pair: -len(pair[0])):
        if known_as in wanted and not _is_variant(name.lower(), profile):
            return profile
    raise NotCovered(f"no hardware profile for '{name}'", hint="known: " + ", ".join(known))


def _is_variant(name: str, profile: str) -> bool:
    return bool(_OTHER_GPU.search(name)) or (profile.endswith("_sxm") and bool(_NOT_SXM.search(name)))


def _aliases(profile: str) -> tuple[str, ...]:
    return (profile, profile.removesuffix("_sxm")) if profile.endswith("_sxm") else (profile,)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.lower())
