"""What every section of the workload YAML has in common."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from simulator.core.quantity import parse, render


class Section(BaseModel):
    """A frozen mapping that refuses unknown keys, numbers given as text, NaN and infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Count = Annotated[int, Field(ge=1)]
RateOrZero = Annotated[
    float,
    BeforeValidator(lambda value: parse(value, "rate", allow_zero=True)),
    PlainSerializer(lambda value: render(value, "rate"), return_type=str),
    WithJsonSchema({"type": "string", "description": "a rate with its unit, may be 0", "examples": ["5/s"]}),
]
