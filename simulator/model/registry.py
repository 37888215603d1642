"""Models by name, or from a Hugging Face ``config.json``."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from simulator.core import InputError, unknown
from simulator.model.transformer import Transformer


@cache
def _known() -> dict[str, dict[str, Any]]:
    # libyaml's loader where it is built in: the pure Python one takes 50 ms for these few lines.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    known: dict[str, dict[str, Any]] = yaml.load(Path(__file__).with_name("known_models.yaml").read_text(), loader)
    return known


def known_models() -> list[str]:
    """Return the names of the models whose shape is shipped, sorted."""
    return sorted(_known())


def load_model(name: str) -> Transformer:
    """Return a known model's shape, or the one of a ``config.json`` (or a folder with one) by path."""
    if name in _known():
        return Transformer.from_config(name, _known()[name])
    path = Path(name)
    if path.is_dir():
        path /= "config.json"
    if path.suffix != ".json":
        raise unknown("model", name, known_models())
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read this model configuration: {error}", where=str(path)) from None
    if not isinstance(config, dict):
        raise InputError("not a Hugging Face config.json: expected an object", where=str(path))
    return Transformer.from_config(path.parent.name or path.stem, config, where=str(path))
