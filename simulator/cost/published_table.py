"""Times at a few sizes, as YAML writes them: ``{128: 48ms, 512: 106ms}``."""

from bisect import bisect_right
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, RootModel, WithJsonSchema, model_validator

from simulator.core.quantity import DurationOrZero, parse, render


def _signed(value: Any) -> float:
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and text.startswith("-"):
        return -parse(text[1:], "duration", allow_zero=True)
    return parse(text, "duration", allow_zero=True)


# A coefficient of a fit, which may come out below zero.
SignedDuration = Annotated[
    float,
    BeforeValidator(_signed),
    PlainSerializer(lambda value: render(value, "duration"), return_type=str),
    WithJsonSchema({"type": "string", "description": "a duration with its unit, may be below 0"}),
]


class TimeTable(RootModel[dict[int, DurationOrZero]]):
    """Seconds by size, straight between the sizes given; beyond them the outermost line goes on, never below 0."""

    @model_validator(mode="before")
    @classmethod
    def _whole_sizes(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        try:
            return {int(size): time for size, time in value.items()}
        except ValueError:
            raise ValueError("sizes must be whole numbers") from None

    @model_validator(mode="after")
    def _rising(self) -> "TimeTable":
        sizes = list(self.root)
        if len(sizes) < 2 or sizes != sorted(sizes) or sizes[0] < 0:
            raise ValueError("needs two sizes or more, rising from 0 or above")
        return self

    def at(self, size: float) -> float:
        """Return seconds at a size."""
        sizes, times = list(self.root), list(self.root.values())
        last = min(max(bisect_right(sizes, size), 1), len(sizes) - 1)
        low, high = sizes[last - 1], sizes[last]
        return max(times[last - 1] + (times[last] - times[last - 1]) * (size - low) / (high - low), 0.0)
