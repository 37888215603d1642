"""The techniques as a listing."""

import inspect
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter, WithJsonSchema

from simulator.core.registry import ParameterInfo
from simulator.experiment.techniques.registry import TECHNIQUES


def describe_techniques() -> list[dict[str, Any]]:
    """Return each technique: name, level, parameters with type and default, source, and what it changes."""
    order = ["data", "model", "engine"]
    rows = []
    for name in TECHNIQUES.names():
        cls = TECHNIQUES.get(name)
        rows.append(
            {
                "name": name,
                "level": cls.level,
                "summary": (inspect.getdoc(cls) or "").partition("\n")[0],
                "parameters": [_parameter(each) for each in TECHNIQUES.parameters(name).values()],
                "source": cls.source,
                "changes": cls.changes,
            }
        )
    return sorted(rows, key=lambda row: (order.index(str(row["level"])), str(row["name"])))


def _parameter(info: ParameterInfo) -> dict[str, Any]:
    required = info.default is inspect.Parameter.empty
    # Quantities are shown as an experiment writes them, with their unit.
    default = None if required else TypeAdapter(info.annotation).dump_python(info.default)
    return {"name": info.name, "type": _type(info.annotation), "default": default, "required": required}


def _type(annotation: Any) -> str:
    """Return a type as people write it: without the checks that ``Annotated`` adds."""
    if hasattr(annotation, "__metadata__"):
        schemas = [each.json_schema for each in annotation.__metadata__ if isinstance(each, WithJsonSchema)]
        return str(schemas[0]["description"]) if schemas and schemas[0] else _type(get_args(annotation)[0])
    if get_origin(annotation) is None:
        return "none" if annotation in (None, type(None)) else getattr(annotation, "__name__", str(annotation))
    parts = [_type(each) if not isinstance(each, str | int | float) else str(each) for each in get_args(annotation)]
    if getattr(get_origin(annotation), "__name__", "") in ("list", "tuple"):
        return f"list of {parts[0]}"
    return " | ".join(parts)
