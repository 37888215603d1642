"""A calibration recipe: which constants of which builds are fitted to which measured data, in which order."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from simulator.core import InputError
from simulator.core.data import data_dir
from simulator.core.yaml_source import read_yaml
from simulator.hardware.engine_profile import Host

# By how much a constant is changed to see what it does: seconds, or shares. Larger than the noise of a simulation.
TRIAL_STEPS = {"prefill": 0.03, "decode": 0.03, "sequence": 5e-6, "floor_sequence": 5e-6,
               "iteration": 3e-4, "floor_iteration": 3e-4, "intake": 2e-3, "block_intake": 5e-3,
               "launch_layer": 1e-4, "launch_experts": 1e-4, "expert_layer": 1e-5, "block_layer": 1e-5,
               "block_chunk": 5e-5, "untuned_experts": 0.05}  # fmt: skip


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSet(_Section):
    """Rows of one measured file: those whose columns have the given values; ``group`` names them in tables."""

    group: str
    kind: Literal["points", "saturated", "open_loop", "requests"]
    file: str
    where: dict[str, str | list[str]] = {}
    metrics: Annotated[tuple[Literal["tpot", "ttft", "ttft_p99", "e2el", "itl", "itl_p99"], ...], Field(min_length=1)]


class Step(_Section):
    """One fit: the constants ``free`` of some builds, on a host behind the server or in process."""

    builds: Annotated[tuple[str, ...], Field(min_length=1)]
    side: Literal["host", "in_process"] = "host"
    free: Annotated[tuple[str, ...], Field(min_length=1)]
    data: Annotated[tuple[DataSet, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _constants_exist(self) -> Self:
        for name in self.free:
            if name not in Host.model_fields or name not in TRIAL_STEPS:
                raise ValueError(f"'{name}' is not a constant of an engine's host")
        return self


class Recipe(_Section):
    """All fits of one engine, in order: a later step keeps what an earlier one found."""

    engine: str
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]

    def groups(self) -> list[str]:
        """Return the names of all groups of data, in order."""
        return list(dict.fromkeys(data.group for step in self.steps for data in step.data))


def load_recipe(name: str) -> Recipe:
    """Return the shipped recipe of an engine, or the one in a YAML file by path; InputError says what is wrong."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = data_dir("hardware_profiles") / "engines" / "calibration" / f"{name}.yaml"
        if not path.exists():
            raise InputError(f"no calibration recipe for engine '{name}'", hint="give the path of a recipe's YAML")
    source = read_yaml(path)
    try:
        return Recipe.model_validate(source.value)
    except ValidationError as error:
        first: Any = error.errors()[0]
        raise InputError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}",
            where=source.where(first["loc"]),
        ) from None
