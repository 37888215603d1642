"""Overrides by key path, from ``--set`` and from ``compare`` and ``sweep``: ``cluster.instances[*].scheduler``."""

import re
from copy import deepcopy
from typing import Any

from simulator.core.errors import InputError
from simulator.core.yaml_source import KeyPath, Place, YamlSource, parse_yaml

_PART = re.compile(r"([^.\[\]*\s]+)((?:\[(?:\d+|\*)\])*)")
_EVERY = "*"


def parse_set(text: str) -> tuple[str, YamlSource]:
    """Return the key path and the value of ``--set path=value``; the value is read as YAML (``[1, 2]``, ``500ms``)."""
    path, equals, value = text.partition("=")
    where = f"--set {path.strip()}"
    if not equals or not path.strip():
        raise InputError(f"'{text}' is not an override", where=where, hint="write --set cluster.router=round_robin")
    if not value.strip():
        raise InputError("no value after '='", where=where, hint=f"write --set {path}=VALUE")
    source = parse_yaml(value, where)
    # A column within the value would puzzle; the option itself is what a person goes back to.
    return path.strip(), YamlSource(source.value, {at: Place(where, where) for at in source.places})


def override(base: YamlSource, path: str, value: YamlSource, *, where: str) -> YamlSource:
    """Return the tree with the value at a key path replaced, and added where absent; ``where`` is the override's place.

    ``[*]`` stands for every entry of a list. A policy given by its name alone becomes a mapping when the path goes on
    to one of its parameters.
    """
    tree = deepcopy(base.value)
    places = dict(base.places)
    for target in _targets(tree, _parse_path(path, where), path, where):
        _put(tree, target, deepcopy(value.value))
        for known in [at for at in places if at[: len(target)] == target]:
            del places[known]
        for depth in range(1, len(target)):
            places.setdefault(target[:depth], Place(where, where))
        places[target] = Place(where, value.where())
        places |= {(*target, *at): place for at, place in value.places.items() if at}
    return YamlSource(tree, places)


def _parse_path(text: str, where: str) -> list[str | int]:
    """Return the keys and indices of a path; the index ``[*]`` is given as ``"*"``."""
    parts: list[str | int] = []
    for piece in text.split("."):
        match = _PART.fullmatch(piece)
        if match is None:
            hint = "write it as cluster.instances[*].scheduler"
            raise InputError(f"'{text}' is not a key path", where=where, hint=hint)
        parts.append(match[1])
        parts += [_EVERY if index == _EVERY else int(index) for index in re.findall(r"\[(\d+|\*)\]", match[2])]
    return parts


def _targets(tree: Any, parts: list[str | int], text: str, where: str) -> list[KeyPath]:
    """Return the key paths a path stands for, making the mappings on the way."""
    found: list[tuple[KeyPath, Any]] = [((), tree)]
    for depth, part in enumerate(parts):
        indexed = isinstance(part, int) or part == _EVERY
        following = parts[depth + 1] if depth + 1 < len(parts) else None
        below: list[tuple[KeyPath, Any]] = []
        for at, node in found:
            if indexed and not isinstance(node, list):
                raise InputError(f"'{text}': '{_text(at)}' is not a list", where=where)
            if isinstance(part, int) and part >= len(node):
                size = "1 entry" if len(node) == 1 else f"{len(node)} entries"
                raise InputError(f"'{text}': '{_text(at)}' has {size}, counted from 0", where=where)
            if not indexed and not isinstance(node, dict):
                what = "is a list" if isinstance(node, list) else f"is {node!r} and has no keys"
                hint = f"write {_text(at)}[*].{part} or {_text(at)}[0].{part}" if isinstance(node, list) else None
                raise InputError(f"'{text}': '{_text(at)}' {what}", where=where, hint=hint)
            keys: list[str | int] = list(range(len(node))) if part == _EVERY else [part]
            below += [((*at, key), _step(node, key, following)) for key in keys]
        found = below
    return [at for at, _ in found]


def _step(node: Any, key: str | int, following: str | int | None) -> Any:
    """Return the value below a node, made a mapping if a key follows and there is none yet."""
    if following is None:
        return None
    value = node.get(key) if isinstance(node, dict) else node[key]
    if isinstance(following, str) and following != _EVERY and (value is None or isinstance(value, str)):
        node[key] = value = {} if value is None else {"name": value}
    return value


def _put(tree: Any, path: KeyPath, value: Any) -> None:
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value


def _text(path: KeyPath) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
