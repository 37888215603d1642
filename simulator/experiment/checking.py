"""From a YAML tree to a checked experiment; what pydantic finds wrong becomes one sentence with its place."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from simulator.core.errors import InputError
from simulator.core.yaml_source import KeyPath, YamlSource
from simulator.experiment.json_schema import keys_at
from simulator.experiment.named import suggest
from simulator.experiment.schema import Experiment

_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "finite_number": "a finite number",
}


M = TypeVar("M", bound=BaseModel)


def validate(source: YamlSource) -> Experiment:
    """Return the experiment a tree describes; InputError names the first thing wrong with it, and its place."""
    return validate_as(Experiment, source)


def validate_as(model: type[M], source: YamlSource) -> M:
    """Return what a tree describes as a model; InputError names the first thing wrong with it, and its place."""
    try:
        return model.model_validate(source.value)
    except ValidationError as error:
        problems = [_explain(details, source, model) for details in error.errors(include_url=False)]
        raise min(problems, key=_unknown_keys_first) from None
    except InputError as error:
        if error.where:
            raise
        raise InputError(error.message, where=source.where(), hint=error.hint) from None


def _unknown_keys_first(problem: InputError) -> bool:
    # A misspelt key often also leaves a required one missing: the misspelling is what to fix.
    return not problem.message.startswith("unknown key")


def _explain(details: ErrorDetails, source: YamlSource, model: type[BaseModel]) -> InputError:
    kind, context = details["type"], details.get("ctx", {})
    path, absent = _in_tree(details["loc"], source.value)
    if kind == "missing" or kind == "union_tag_not_found":
        key = context.get("discriminator", "").strip("'") or absent[-1]
        return InputError(f"missing key '{key}'" + (f" in '{dotted(path)}'" if path else ""), where=source.where(path))
    if kind == "extra_forbidden":
        key = str(path[-1])
        hint = suggest(key, sorted(keys_at(path[:-1], source.value, model)))
        return InputError(f"unknown key '{key}'", where=source.where_key(path), hint=hint)
    below = context.get("key") or context.get("discriminator", "").strip("'")
    if below and isinstance(details["input"], dict):
        path = (*path, below)
    where = source.where_key(path) if kind == "wrong_key" else source.where(path)
    place = "" if where.endswith(dotted(path)) else f"{dotted(path)}: "
    return InputError(f"{place}{_message(details)}", where=where, hint=context.get("hint"))


def _message(details: ErrorDetails) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind in ("wrong_key", "wrong_value"):
        return str(context["message"])
    if kind in _TYPES:
        return f"expected {_TYPES[kind]}, not {shown(value)}"
    if kind == "union_tag_invalid":
        return f"'{context['tag']}' is none of {context['expected_tags']}"
    if kind == "too_short":
        return f"needs at least {context['min_length']} {'entry' if context['min_length'] == 1 else 'entries'}"
    text = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if text.startswith("Input should be"):
        text = text.replace("Input should be", "must be").replace("greater than or equal to", "at least")
        text = text.replace("less than or equal to", "at most").replace("greater than", "above")
        return f"{text}, not {shown(value)}"
    return text


def shown(value: Any) -> str:
    """Return a value as a message shows it: scalars as YAML writes them, the rest by what it is."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _in_tree(loc: tuple[int | str, ...], value: Any) -> tuple[KeyPath, tuple[int | str, ...]]:
    """Split an error's location into a path of the tree and what is absent from it, dropping pydantic's union tags."""
    path: list[str | int] = []
    rest: list[str | int] = []
    for part in loc:
        inside = isinstance(value, dict) and part in value
        inside = inside or (isinstance(value, list) and isinstance(part, int) and part < len(value))
        if inside:
            value = value[part]
            path.append(part)
            rest.clear()
        else:
            rest.append(part)
    return tuple(path), tuple(rest)


def dotted(path: KeyPath) -> str:
    """Return a key path as people write it: ``cluster.instances[0].count``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
