"""The JSON Schema of an experiment's YAML: for editors, and for telling which keys a place knows."""

from typing import Any

from pydantic import BaseModel

from simulator.core.yaml_source import KeyPath
from simulator.experiment.schema import Experiment


def experiment_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an experiment's YAML."""
    schema = Experiment.model_json_schema()
    # The loader names an experiment after its file.
    schema["required"] = [key for key in schema["required"] if key != "name"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Tokenyard experiment", **schema}


def keys_at(path: KeyPath, value: Any, model: type[BaseModel] = Experiment) -> set[str]:
    """Return the keys known in the mapping at a key path of a model's tree; its values pick alternatives."""
    root = model.model_json_schema()
    places = _alternatives(root, root, value)
    for part in path:
        value = value[part]
        places = [below for place in places for below in _below(root, place, part, value)]
    return {key for place in places for key in place.get("properties", {})}


def _below(root: dict[str, Any], place: dict[str, Any], part: str | int, value: Any) -> list[dict[str, Any]]:
    if isinstance(part, int):
        inner = place.get("items")
    else:
        inner = place.get("properties", {}).get(part, place.get("additionalProperties"))
    return _alternatives(root, inner, value) if isinstance(inner, dict) else []


def _alternatives(root: dict[str, Any], place: dict[str, Any], value: Any) -> list[dict[str, Any]]:
    """Return the plain schemas a place may be, by reference and union; a union's tag in the value picks one."""
    if "$ref" in place:
        return _alternatives(root, root["$defs"][place["$ref"].removeprefix("#/$defs/")], value)
    tag = place.get("discriminator")
    if tag and isinstance(value, dict) and value.get(tag["propertyName"]) in tag["mapping"]:
        return _alternatives(root, {"$ref": tag["mapping"][value[tag["propertyName"]]]}, value)
    options = [option for union in ("anyOf", "oneOf", "allOf") for option in place.get(union, [])]
    return [plain for option in options for plain in _alternatives(root, option, value)] or [place]
