"""YAML in, plain values and positions out: every error can name the line and column a person should open.

Scalars follow the YAML 1.2 core schema, so ``1e-3`` is a number and ``on`` is text; dates, sexagesimals, merge keys and
language-specific tags do not exist. Mapping keys are always text.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from simulator.core.errors import InputError

KeyPath = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}\Z")
_CORE = [
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
]


class _CoreLoader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}


class _CoreDumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind, _pattern, _first in _CORE:
    for _class in (_CoreLoader, _CoreDumper):
        firsts = ["" if char == "\0" else char for char in _first]
        _class.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), firsts)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Unicode's own line breaks survive only as escapes; a bare date is no text to readers of YAML 1.1.
    style = '"' if set(text) & set("\x85\u2028\u2029\ufeff") else "'" if _DATE.match(text) else None
    return dumper.represent_scalar(_TAG + "str", text, style=style)


_CoreDumper.add_representer(str, _text)


@dataclass(frozen=True)
class Place:
    """Where a key and its value stand, as ``file:line:col`` (1-based)."""

    key: str
    value: str


@dataclass(frozen=True)
class YamlSource:
    """A value as read from YAML, with the place of each of its parts by key path (``("cluster", "instances", 0)``)."""

    value: Any
    places: Mapping[KeyPath, Place] = field(repr=False)

    def where(self, path: KeyPath = ()) -> str:
        """Return where the value at a key path stands, or its nearest ancestor's place where it is absent."""
        return self._nearest(path).value

    def where_key(self, path: KeyPath) -> str:
        """Return where the key at a key path stands, or the nearest ancestor's value where it is absent."""
        return self.places[path].key if path in self.places else self.where(path)

    def part(self, path: KeyPath) -> "YamlSource":
        """Return the value at a key path as a source of its own; KeyError or IndexError where it is absent."""
        value = self.value
        for key in path:
            value = value[key]
        size = len(path)
        return YamlSource(value, {known[size:]: at for known, at in self.places.items() if known[:size] == path})

    def _nearest(self, path: KeyPath) -> Place:
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]


def read_yaml(file: Path) -> YamlSource:
    """Return a YAML file whose top level is a mapping; InputError names the file, line and column of what is wrong."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise InputError("no such file", where=str(file), hint=_similar_file(file)) from None
    except IsADirectoryError:
        raise InputError("is a folder, not a YAML file", where=str(file)) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(file)) from None
    source = parse_yaml(_decode(data, str(file)), str(file))
    if source.value is None:
        raise InputError("the file is empty", where=f"{file}:1:1")
    if not isinstance(source.value, dict):
        raise InputError("the top level must be a mapping of keys to values", where=source.where())
    return source


def parse_yaml(text: str, name: str) -> YamlSource:
    """Return one YAML document; ``name`` stands before ``:line:col`` in its places and errors."""
    try:
        root = yaml.compose(text, Loader=_CoreLoader)
        places: dict[KeyPath, Place] = {}
        if root is None:
            return YamlSource(None, {(): Place(f"{name}:1:1", f"{name}:1:1")})
        places[()] = Place(_at(name, root), _at(name, root))
        return YamlSource(_Reader(name, places).read(root, ()), places)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        tab = "found character '\\t'" in (error.problem or "")
        hint = "indent with spaces; YAML allows no tabs" if tab else None
        problem = "a tab character" if tab else error.problem or "cannot be read"
        if problem.startswith("but "):
            problem = f"{error.context}, {problem}"
        raise InputError(f"not valid YAML: {problem}", where=where, hint=hint) from None
    except yaml.reader.ReaderError as error:
        raise InputError(f"a character that YAML does not allow: {chr(error.character)!r}",
                         where=_position(name, text[: error.position])) from None  # fmt: skip
    except RecursionError:
        raise InputError("nested too deeply", where=f"{name}:1:1") from None


def dump_yaml(value: Any) -> str:
    """Return plain values as YAML text that ``parse_yaml`` reads back to the same values."""
    return yaml.dump(value, Dumper=_CoreDumper, sort_keys=False, allow_unicode=True, width=120)


class _Reader:
    """Turns nodes into plain values and notes where each stands."""

    def __init__(self, name: str, places: dict[KeyPath, Place]) -> None:
        self.name = name
        self.places = places
        self.open: set[int] = set()

    def read(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self.open:
            raise InputError("an anchor that contains itself", where=_at(self.name, node))
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            raise InputError(f"the tag '{node.tag.replace(_TAG, '!!')}' is not supported", where=_at(self.name, node))
        self.open.add(id(node))
        value: Any
        if isinstance(node, yaml.MappingNode):
            value = {key: self._child(key_node, item, (*path, key)) for key, key_node, item in self._entries(node)}
        else:
            assert isinstance(node, yaml.SequenceNode)
            value = [self._child(item, item, (*path, index)) for index, item in enumerate(node.value)]
        self.open.remove(id(node))
        return value

    def _child(self, key_node: yaml.Node, node: yaml.Node, path: KeyPath) -> Any:
        self.places[path] = Place(_at(self.name, key_node), _at(self.name, node))
        return self.read(node, path)

    def _entries(self, node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        lines: dict[str, int] = {}
        for key_node, item in node.value:
            where = _at(self.name, key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise InputError("a key must be text", where=where)
            key = str(key_node.value)
            if key in lines:
                raise InputError(f"duplicate key '{key}'", where=where, hint=f"it is already set on line {lines[key]}")
            lines[key] = key_node.start_mark.line + 1
            yield key, key_node, item

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text, kind = str(node.value), node.tag.removeprefix(_TAG)
        try:
            if kind == "str":
                return text
            if kind == "null":
                return None
            if kind == "bool":
                return {"true": True, "false": False}[text.lower()]
            if kind == "int":
                return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except (KeyError, ValueError):
            raise InputError(f"'{text}' is not of type {kind}", where=_at(self.name, node)) from None
        raise InputError(f"the tag '{node.tag.replace(_TAG, '!!')}' is not supported", where=_at(self.name, node))


def _at(name: str, node: yaml.Node) -> str:
    return f"{name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _position(name: str, before: str) -> str:
    return f"{name}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = _position(name, data[: error.start].decode("utf-8", errors="replace"))
        raise InputError("is not UTF-8 text", where=where, hint="save the file in the UTF-8 encoding") from None


def _similar_file(file: Path) -> str | None:
    folder = file.parent
    names = [entry.name for entry in folder.iterdir() if entry.suffix in (".yaml", ".yml")] if folder.is_dir() else []
    near = get_close_matches(file.name, names, n=1)
    return f"did you mean '{folder / near[0]}'?" if near else None
