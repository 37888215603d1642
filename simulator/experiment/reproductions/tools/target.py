"""What a reproduction is held against: a value or a range from the paper, and how near ours has to come."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from simulator.workload.section import Section


class Within(Section):
    """A distance from the paper's value: a share of it (``relative``), or in its unit."""

    distance: Annotated[float, Field(ge=0)]
    relative: bool

    def __str__(self) -> str:
        return f"{100 * self.distance:g}%" if self.relative else f"{self.distance:g}"


def _within(value: Any) -> Any:
    if isinstance(value, str):
        number = value.removesuffix("%").strip()
        try:
            return Within(distance=float(number) / 100, relative=True) if value.endswith("%") else value
        except ValueError:
            raise ValueError(f"'{value}' is not a percentage; write it as 25%") from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Within(distance=value, relative=False)
    return value


class Target(Section):
    """One row of a reproduction's table.

    ``within`` is a percentage of the paper's value or a distance in the row's unit; ``at_least`` and ``at_most`` bound
    ours where the paper's value is no point, and all that are given must hold. A ``required`` row decides between
    reproduced and not, a ``shape`` row whether at least the shape is there, a ``shown`` row neither. ``of``: the
    ``mean`` or ``median`` over seeds is held against the paper, or ``every`` seed.
    """

    what: str
    unit: str = ""
    paper: float | None = None
    within: (
        Annotated[Within, BeforeValidator(_within), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})]
        | None
    ) = None
    at_least: float | None = None
    at_most: float | None = None
    role: Literal["required", "shape", "shown"] = "required"
    effect: Literal["policy", "engine", "both"] | None = Field(
        None, description="what makes the difference: the policy alone, the engine alone, or both as in the paper"
    )
    of: Literal["mean", "median", "every"] = "mean"

    @model_validator(mode="after")
    def _decidable(self) -> "Target":
        if self.within is not None and self.paper is None:
            raise ValueError("'within' needs the paper's value")
        if self.role != "shown" and self.within is None and self.at_least is None and self.at_most is None:
            raise ValueError("needs 'within', 'at_least' or 'at_most' (or the role 'shown')")
        return self

    def holds(self, values: Sequence[float]) -> bool:
        """Tell whether values, one a seed, meet the target; NaN meets none."""
        if self.of == "every":
            return all(self._holds(value) for value in values)
        return self._holds(middle(values, self.of))

    def bounds(self) -> tuple[float, float]:
        """Return the least and the largest value that hold; infinite where there is no bound."""
        low, high = float("-inf"), float("inf")
        if self.within is not None and self.paper is not None:
            reach = self.within.distance * (abs(self.paper) if self.within.relative else 1.0)
            low, high = self.paper - reach, self.paper + reach
        if self.at_least is not None:
            low = max(low, self.at_least)
        if self.at_most is not None:
            high = min(high, self.at_most)
        return low, high

    def tolerance(self) -> str:
        """Return the tolerance in words; empty for a row that is only shown."""
        unit = f" {self.unit}" if self.unit else ""
        parts = []
        if self.within is not None:
            parts.append(f"±{self.within}" + ("" if self.within.relative else unit))
        if self.at_least is not None and self.at_most is not None:
            parts.append(f"{self.at_least:g} to {self.at_most:g}{unit}")
        elif self.at_least is not None:
            parts.append(f"at least {self.at_least:g}{unit}")
        elif self.at_most is not None:
            parts.append(f"at most {self.at_most:g}{unit}")
        if self.of != "mean" and parts:
            parts.append("for every seed" if self.of == "every" else "median of seeds")
        return ", ".join(parts)

    def _holds(self, value: float) -> bool:
        low, high = self.bounds()
        return low <= value <= high


def middle(values: Sequence[float], of: str) -> float:
    """Return the mean, or with ``of`` "median" the median, of at least one value."""
    import numpy as np

    return float(np.median(values) if of == "median" else np.mean(values))
