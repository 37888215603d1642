"""A GPU's profile: what it was measured to do, and where each number comes from."""

from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulator.core import InputError, unknown
from simulator.core.data import data_dir
from simulator.core.quantity import Bandwidth, Compute, Duration, DurationOrZero, Size
from simulator.core.yaml_source import read_yaml

SCHEMA = 1


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Memory(_Section):
    """Device memory: capacity as the driver reports it, bandwidth as the datasheet states it."""

    capacity: Size
    bandwidth: Bandwidth


class Roofline(_Section):
    """Time of one kernel: ``launch + (c**blend + b**blend) ** (1 / blend)``.

    c is its FLOPs over ``compute``, b its bytes over ``bandwidth``: achieved rates, fitted to measured kernels. A
    large ``blend`` is the textbook roofline max(c, b); a small one rounds its ridge off, as kernels do. ``error`` is
    the median relative error of the fit over ``samples`` measured kernels.
    """

    launch: DurationOrZero
    compute: Compute
    bandwidth: Bandwidth
    blend: Annotated[float, Field(ge=1)]
    error: Annotated[float, Field(ge=0)]
    samples: Annotated[int, Field(ge=1)]

    def table(self, flops: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the times of many kernels: ``seconds`` for arrays of FLOPs and bytes (above 0)."""
        c, b = flops / self.compute, size / self.bandwidth
        longer = np.maximum(c, b)
        rounded: NDArray[np.float64] = ((c / longer) ** self.blend + (b / longer) ** self.blend) ** (1 / self.blend)
        return self.launch + longer * rounded

    def seconds(self, flops: float, size: float) -> float:
        """Return the time of a kernel of so many FLOPs that moves so many bytes."""
        c, b = flops / self.compute, size / self.bandwidth
        longer = max(c, b)
        if longer == 0:
            return self.launch
        # Scaled by the longer one, so that powers of tiny times stay in range.
        rounded: float = ((c / longer) ** self.blend + (b / longer) ** self.blend) ** (1 / self.blend)
        return self.launch + longer * rounded


class Elementwise(_Section):
    """Memory-bound small operators: ``launch + bytes / bandwidth`` each."""

    launch: Duration
    bandwidth: Bandwidth


class AllReduce(_Section):
    """All-reduce over n GPUs of one node: ``latency + 2 (n - 1) / n * bytes / bandwidth``."""

    latency: Duration
    bandwidth: Bandwidth
    most_gpus: Annotated[int, Field(ge=2)]


class Host(_Section):
    """Time the engine's host adds to an iteration: a fixed part, and one for every request in it."""

    iteration: DurationOrZero
    sequence: DurationOrZero
    reserved_memory: Size


class Profile(_Section):
    """One GPU, bf16. ``provenance`` names the source of every section."""

    schema_version: Annotated[int, Field(alias="schema")]
    name: str
    gpu: str
    memory: Memory
    gemm: Roofline
    prefill_attention: Roofline
    decode_attention: Roofline
    elementwise: Elementwise
    allreduce: AllReduce | None = None
    host: Host
    provenance: dict[str, str]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a profile file; InputError says what is wrong where."""
        source = read_yaml(path)
        if (found := source.value.get("schema")) != SCHEMA:
            raise InputError(f"profile schema {found!r}, this version reads {SCHEMA}", where=source.where(("schema",)))
        try:
            return cls.model_validate(source.value)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            where = source.where(first["loc"])
            raise InputError(f"{key}: {first['msg'].removeprefix('Value error, ')}", where=where) from None


def known_profiles() -> list[str]:
    """Return the names of the shipped profiles, sorted."""
    return sorted(path.stem for path in data_dir("hardware_profiles").glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """Return a shipped profile by name, or the one in a YAML file by path."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return Profile.load(path)
    if name not in known_profiles():
        raise unknown("hardware", name, known_profiles())
    return Profile.load(data_dir("hardware_profiles") / f"{name}.yaml")
