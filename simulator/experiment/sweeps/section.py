"""The ``sweep:`` section of an experiment: a grid of values, a list of points, random points, and seeds."""

import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Values = Annotated[list[Any], Field(min_length=1)]
Seed = Annotated[int, Field(strict=True, ge=0)]
Number = int | float
_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)\s*(\D.*?)\s*")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(_Part):
    """Values between two ends: whole numbers if both ends are, and with their unit if they have one (``1/s``)."""

    min: Any = Field(description="smallest value: a number, or a quantity with its unit")
    max: Any = Field(description="largest value, of the same kind and unit")
    log: Annotated[bool, Field(strict=True)] = Field(False, description="draw evenly by factors instead of differences")

    @model_validator(mode="after")
    def _ends_fit(self) -> Self:
        low, high, _ = self.ends()
        if not low < high:
            raise ValueError(f"'max' must be above 'min': {self.min!r} to {self.max!r}")
        if self.log and low <= 0:
            raise ValueError(f"with 'log', 'min' must be above 0, not {self.min!r}")
        return self

    def ends(self) -> tuple[Number, Number, str]:
        """Return both ends as numbers, and their common unit (empty for plain numbers)."""
        (low, unit), (high, other) = _number(self.min), _number(self.max)
        if unit != other:
            raise ValueError(f"'min' and 'max' need the same unit: {self.min!r} to {self.max!r}")
        return low, high, unit


def _number(value: Any) -> tuple[Number, str]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value, ""
    match = _NUMBER_AND_UNIT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"a range needs numbers or quantities, not {value!r}")
    return float(match[1]), match[2]


def _kind_of_draw(value: Any) -> str:
    return "choices" if isinstance(value, list) else "range"


Draw = Annotated[Annotated[Range, Tag("range")] | Annotated[Values, Tag("choices")], Discriminator(_kind_of_draw)]


class RandomPoints(_Part):
    """Points drawn at random, each key from a stream of its own."""

    points: Annotated[int, Field(strict=True, ge=1)] = Field(description="how many different points")
    seed: Seed = Field(0, description="which points; the experiment's seed does not change them")
    draw: Annotated[dict[str, Draw], Field(min_length=1)] = Field(
        description="by key path, a list to choose from or {min: ..., max: ..., log: ...}"
    )


Points = Annotated[
    tuple[Annotated[dict[str, Any], Field(min_length=1)], ...],
    Field(description="points one by one, each mapping key paths to values"),
]


class Sweep(_Part):
    """What to vary: every variant runs at each grid point, list entry, random point and seed combined.

    A key path with a list of values that stands beside these words belongs to the grid.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"additionalProperties": {"type": "array", "minItems": 1}}
    )

    grid: dict[str, Values] = Field({}, description="a key path's values; all combinations of them run")
    list: Points = ()
    random: RandomPoints | None = Field(None, description="points drawn at random")
    seeds: Annotated[int, Field(strict=True, ge=1)] | Annotated[tuple[Seed, ...], Field(min_length=1)] | None = Field(
        None, description="replicas of every point: how many, counted from the experiment's seed, or a list of seeds"
    )

    @model_validator(mode="before")
    @classmethod
    def _key_paths_are_grid(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("grid", {}), dict):
            return value
        words = cls.model_fields
        paths = {key: values for key, values in value.items() if key not in words}
        known = {key: part for key, part in value.items() if key in words}
        return {**known, "grid": {**(known.get("grid") or {}), **paths}} if paths else known

    @property
    def empty(self) -> bool:
        """Whether nothing is varied."""
        return not (self.grid or self.list or self.random or self.seeds)
