"""Measured files name models and GPUs as Hugging Face and drivers do; the registries have names of their own."""

import re
from pathlib import Path
from typing import NamedTuple

from simulator.core import InputError
from simulator.hardware.registry import known_profiles
from simulator.model.registry import known_models, known_name, load_model
from simulator.model.shape import Precision

# What checkpoints of one shape differ in: tuning, date, packing, precision.
_PRECISION = ("fp8", "nvfp4", "mxfp4", "awq", "gptq", "w4a16", "int8")
_SUFFIX = re.compile(rf"-(instruct|chat|hf|it|base|thinking|dynamic|bf16|\d{{4}}|{'|'.join(_PRECISION)})$")
# Shapes whose published generation_config.json asks for top-p, which vLLM does where a request says nothing else; those
# of Code Llama, Mixtral and gpt-oss do not.
_TOP_P = ("llama-2", "llama-3", "llama-4", "qwen2.5", "qwen3", "gemma-3", "minimax-m2")
_NATIVE = ("", "bfloat16", "bf16", "float16", "fp16", "auto")


class NotCovered(InputError):
    """A measured thing that there is no model or hardware profile for: a gap in coverage, no mistake in a file."""


class Checkpoint(NamedTuple):
    """A known model, and the quantization to ask the engine for where the checkpoint is not quantized itself."""

    model: str
    quantization: str | None


def checkpoint_named(name: str, precision: str = "") -> Checkpoint:
    """Return what is known for a checkpoint's name (``org/Model-8B-Instruct-FP8``) or a ``config.json``.

    ``precision`` (fp8, nvfp4, ...) says what it ran in where the name does not. NotCovered where no known model has
    its shape.
    """
    model = name if Path(name).suffix == ".json" else _model_named(name)
    words = re.split(r"[^a-z0-9]", name.rpartition("/")[2].lower())
    wanted = next((word for word in _PRECISION if word in words), None)
    wanted = wanted or (None if precision.lower() in _NATIVE else precision.lower())
    if wanted is None or load_model(model).precision != Precision():
        return Checkpoint(model, None)
    published = f"{model}-{wanted}"
    return Checkpoint(published, None) if published in known_models() else Checkpoint(model, wanted)


def default_sampling(model: str) -> str | None:
    """Return how an engine chooses the tokens of a known model where requests do not say; None: greedily."""
    return "top_p" if model.startswith(_TOP_P) else None


def _model_named(name: str) -> str:
    if (known := known_name(name)) is not None:
        return known
    by_plain = {_plain(model): model for model in known_models()}
    wanted = name.rpartition("/")[2].lower().removeprefix("meta-").replace("_", "-")
    while _plain(wanted) not in by_plain:
        shorter = _SUFFIX.sub("", wanted)
        if shorter == wanted:
            raise NotCovered(f"model '{name}' is not known", hint="known: " + ", ".join(known_models()))
        wanted = shorter
    return by_plain[_plain(wanted)]


def hardware_named(name: str) -> str:
    """Return the profile for a GPU as a driver or a folder names it: ``NVIDIA GeForce RTX 4090``, ``RTX4090_Llama``.

    NotCovered where no profile's name occurs in it.
    """
    known = known_profiles()
    if name in known or Path(name).suffix in (".yaml", ".yml"):
        return name
    wanted = _plain(name)
    # h100_sxm is found by h100_sxm and by h100; longer names come first, so that h100_nvl is not taken for h100_sxm.
    names = sorted(((_plain(known_as), profile) for profile in known for known_as in _aliases(profile)), reverse=True)
    for known_as, profile in sorted(names, key=lambda pair: -len(pair[0])):
        if known_as in wanted:
            return profile
    raise NotCovered(f"no hardware profile for '{name}'", hint="known: " + ", ".join(known))


def _aliases(profile: str) -> tuple[str, ...]:
    return (profile, profile.removesuffix("_sxm")) if profile.endswith("_sxm") else (profile,)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.lower())
