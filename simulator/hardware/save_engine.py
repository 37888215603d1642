"""Writes an engine profile as a person would: units that suit the size, nothing that says nothing."""

from math import isclose
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from simulator.core.quantity import parse
from simulator.hardware.engine_profile import EngineProfile, Host, TopP

_UNITS = {"s": (("ms", 1e-3), ("us", 1e-6)), "B": (("GB", 1e9), ("MB", 1e6))}
_KINDS = {"s": "duration", "B": "size"}


def save_engine(engine: EngineProfile, path: Path, title: str = "") -> None:
    """Write an engine profile as YAML that ``load_engine`` reads back to the same figures, under a comment line."""
    tree = engine.model_dump(by_alias=True, exclude_none=True, mode="json")
    for build in tree["builds"]:
        build["reserved_memory"] = _readable(build["reserved_memory"])
        for side in ("host", "in_process"):
            build[side] = _said(Host, build[side])
        if "top_p" in build:
            build["top_p"] = _said(TopP, build["top_p"])
    text = yaml.dump(tree, Dumper=_Indented, sort_keys=False, allow_unicode=True, width=118)
    path.write_text((f"# {title}\n" if title else "") + text, encoding="utf-8")


class _Indented(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent the entries of a list below its key."""
        super().increase_indent(flow, False)

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        """Write a list of numbers, or of such lists, in one line."""
        flat = not any(isinstance(each, dict) for each in sequence)
        return super().represent_sequence(tag, sequence, flat)


def _said(section: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """Return the readable values of a section that are not at their defaults; those without one are always written."""
    said = {}
    for name, value in values.items():
        field = section.model_fields[name]
        default = f"{field.default!r}s" if isinstance(value, str) else field.default
        if field.is_required() or value != default:
            said[name] = _readable(value)
    return said


def _readable(value: Any) -> Any:
    """Return a quantity in seconds or bytes in the unit that suits it, if six digits say it."""
    if not isinstance(value, str) or value[-1] not in _UNITS:
        return value
    base, number = value[-1], float(value[:-1])
    if number == 0:
        return f"0{_UNITS[base][-1][0]}"
    texts = [f"{number / scale:.6g}{unit}" for unit, scale in _UNITS[base] if number >= scale]
    exact = [text for text in texts if parse(text, _KINDS[base]) == number]
    close = [text for text in texts if isclose(parse(text, _KINDS[base]), number, rel_tol=1e-12)]
    return (exact + close + [value])[0]
