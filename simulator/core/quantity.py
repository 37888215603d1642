"""Quantities with units, as people write them in YAML: ``500ms``, ``80GiB``, ``900GB/s``, ``5/s``.

Each type below validates a string (a bare number is refused, so that nobody guesses the unit), holds a float in SI base
units (s, B, B/s, FLOP/s, 1/s, W; prices in USD/h) and serialises back to a string that parses to the same value.
"""

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_DECIMAL = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_TIME = {"ps": 1e-12, "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {prefix + "B": scale for prefix, scale in {**_DECIMAL, **_BINARY}.items()}
_UNITS: dict[str, dict[str, float]] = {
    "duration": _TIME,
    "size": _BYTES,
    "bandwidth": {f"{unit}/s": scale for unit, scale in _BYTES.items()},
    "compute": {f"{prefix}FLOP/s": scale for prefix, scale in _DECIMAL.items()},
    "rate": {"/s": 1.0, "req/s": 1.0, "/min": 1 / 60, "req/min": 1 / 60, "/h": 1 / 3600, "req/h": 1 / 3600},
    "power": {prefix + "W": scale for prefix, scale in _DECIMAL.items()},
    "price": {"USD/h": 1.0},
}
_EXAMPLE = {"duration": "500ms", "size": "80GiB", "bandwidth": "900GB/s", "compute": "989TFLOP/s", "rate": "5/s",
            "power": "700W", "price": "2.5USD/h"}  # fmt: skip
_BASE = {"duration": "s", "size": "B", "bandwidth": "B/s", "compute": "FLOP/s", "rate": "/s", "power": "W",
         "price": "USD/h"}  # fmt: skip
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*)\s*")


def parse(value: Any, kind: str, *, allow_zero: bool = False) -> float:
    """Return a quantity of a kind (``duration``, ``size``, ...) in SI base units; ValueError says what is wrong."""
    units, example = _UNITS[kind], _EXAMPLE[kind]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected a {kind} such as {example}, not {value!r}")
    if not isinstance(value, str):
        raise ValueError(f"{value!r} has no unit; write a {kind} such as {example}")
    match = _NUMBER.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not a {kind}; write it such as {example}")
    number, unit = float(match[1]), match[2]
    if not unit:
        raise ValueError(f"{value!r} has no unit; write a {kind} such as {example}")
    if unit not in units:
        raise ValueError(f"'{unit}' is not a unit of {kind}; use one of {', '.join(units)}")
    if not math.isfinite(number) or number < 0 or (number == 0 and not allow_zero):
        raise ValueError(f"{value!r} must be finite and {'not negative' if allow_zero else 'above 0'}")
    return number * units[unit]


def render(value: float, kind: str) -> str:
    """Return a value in SI base units as text that ``parse`` reads back to the same float."""
    return f"{value!r}{_BASE[kind]}"


def _quantity(kind: str, *, allow_zero: bool = False) -> Any:
    return (
        BeforeValidator(lambda v: parse(v, kind, allow_zero=allow_zero)),
        PlainSerializer(lambda v: render(v, kind), return_type=str),
        WithJsonSchema({"type": "string", "description": f"a {kind} with its unit", "examples": [_EXAMPLE[kind]]}),
    )


Duration = Annotated[float, *_quantity("duration")]
DurationOrZero = Annotated[float, *_quantity("duration", allow_zero=True)]
Size = Annotated[float, *_quantity("size")]
Bandwidth = Annotated[float, *_quantity("bandwidth")]
Compute = Annotated[float, *_quantity("compute")]
Rate = Annotated[float, *_quantity("rate")]
Power = Annotated[float, *_quantity("power")]
HourlyPrice = Annotated[float, *_quantity("price")]
