"""Models by name, or from a Hugging Face ``config.json``."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from simulator.core import InputError, unknown
from simulator.model.transformer import Transformer


class KnownModel(NamedTuple):
    """A shipped shape: the ``config.json`` or publication it is from, repositories that share it, and its keys."""

    source: str
    aliases: tuple[str, ...]
    config: dict[str, Any]


@cache
def _known() -> dict[str, KnownModel]:
    # libyaml's loader where it is built in: the pure Python one takes many times as long.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entries = yaml.load(Path(__file__).with_name("known_models.yaml").read_text(encoding="utf-8"), loader)

    def config(entry: dict[str, Any]) -> dict[str, Any]:
        base = config(entries[entry["like"]]) if "like" in entry else {}
        return {**base, **entry.get("config", {})}

    return {
        name: KnownModel(entry["source"], tuple(entry.get("aliases", ())), config(entry))
        for name, entry in entries.items()
    }


@cache
def model_names() -> Mapping[str, str]:
    """Return the known name by each name and repository that stands for it."""
    names = {name: name for name in _known()}
    for name, known in _known().items():
        for other in (known.source, *known.aliases):
            names.setdefault(other, name)
    return names


def known_models() -> list[str]:
    """Return the names of the models whose shape is shipped, sorted."""
    return sorted(_known())


def known_name(name: str) -> str | None:
    """Return the known name for a name or a Hugging Face repository (``owner/model``), or None."""
    return model_names().get(name)


def known_source(name: str) -> str:
    """Return where a known model's shape is from: the repository whose ``config.json`` it is, or the publication."""
    return _known()[name].source


def load_model(name: str) -> Transformer:
    """Return a known model's shape, by name or Hugging Face repository, or that of a ``config.json`` by path.

    The path may be its folder's; modelopt's ``hf_quant_config.json`` beside it is read too.
    """
    if known := known_name(name):
        return Transformer.from_config(known, _known()[known].config)
    path = Path(name)
    if path.is_dir():
        path /= "config.json"
    if path.suffix != ".json":
        raise unknown("model", name, model_names() if "/" in name else _known())
    config = _read(path)
    quantization = path.with_name("hf_quant_config.json")
    if quantization.is_file() and not config.get("quantization_config"):
        config["quantization_config"] = {"quant_method": "modelopt", **_read(quantization)}
    return Transformer.from_config(path.parent.name or path.stem, config, where=str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read this model configuration: {error}", where=str(path)) from None
    if not isinstance(config, dict):
        raise InputError("not a Hugging Face config.json: expected an object", where=str(path))
    return config
