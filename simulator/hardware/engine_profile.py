"""An engine's profile: what its host adds to the GPU's work, by build, and how it schedules and reserves memory."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulator.core import InputError, unknown
from simulator.core.data import data_dir
from simulator.core.quantity import DurationOrZero, Size
from simulator.core.yaml_source import read_yaml

SCHEMA = 1
_FOLDER = "engines"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Host(_Section):
    """What an engine adds to the kernels' time; all fitted to measured serving runs.

    An iteration of n requests takes ``max(gpu + iteration + n * sequence, floor_iteration + n * floor_sequence)``.
    ``intake`` is what a request spends in the server before the engine queues it, ``block_intake`` that of a model with
    weights in fp8 blocks. ``expert_layer`` is added for each layer with experts, ``block_layer`` for each layer whose
    weights are fp8 in blocks, and ``block_chunk`` for each of these in an iteration that replays no graph; such an
    iteration takes at least ``launch_layer`` for each layer and ``launch_experts`` for each with experts, for the host
    launches their kernels one by one.
    ``prefill`` scales the kernels' time in iterations that replay no graph: clocks under sustained load.
    ``decode`` scales it in iterations without prompt chunks: launches that the tables timed but a graph of whole
    iterations hides. ``untuned_experts`` scales that of experts whose shape the engine has no tuned kernel for.
    """

    iteration: DurationOrZero
    sequence: DurationOrZero
    floor_iteration: DurationOrZero = 0.0
    floor_sequence: DurationOrZero = 0.0
    intake: DurationOrZero = 0.0
    block_intake: DurationOrZero = 0.0
    expert_layer: DurationOrZero = 0.0
    block_layer: DurationOrZero = 0.0
    block_chunk: DurationOrZero = 0.0
    launch_layer: DurationOrZero = 0.0
    launch_experts: DurationOrZero = 0.0
    untuned_experts: Annotated[float, Field(ge=1, lt=3)] = 1.0
    prefill: Annotated[float, Field(gt=0.5, lt=2)] = 1.0
    decode: Annotated[float, Field(gt=0.5, lt=2)] = 1.0


class TopP(_Section):
    """What cutting logits at a probability takes: memory traffic at the GPU's bandwidth, and a time for the launches.

    ``logit_bytes`` are moved for each logit of each request. From ``many`` requests on (none: never) PyTorch sorts each
    request's logits in a block of threads of its own: ``many_logit_bytes`` a logit then. So many blocks run side by
    side on each streaming multiprocessor (``blocks_per_sm``); fewer take as long.
    """

    launches: DurationOrZero = 0.0
    logit_bytes: Annotated[float, Field(ge=0)]
    many: Annotated[int, Field(ge=1)] | None = None
    many_logit_bytes: Annotated[float, Field(ge=0)] = 0.0
    blocks_per_sm: Annotated[float, Field(ge=0)] = 0.0


class Build(_Section):
    """One way an engine was built or started: versions from ``since`` up to, not including, ``before``.

    ``admission_lag``: iterations by which a decision runs ahead of what it knows; 1 under asynchronous scheduling.
    ``captured``: most tokens of an iteration that replays a CUDA graph, 0 for none, and ``captured_a_request`` (none:
    any) for each request that may run at once. ``draw_bytes``: bytes that drawing a
    token moves for each logit, ``top_p``: what cutting them at a probability takes before; none: not known. ``host``
    holds with the engine's HTTP server before it, ``in_process`` where requests are handed to the engine directly.
    """

    name: str
    since: str = "0"
    before: str | None = None
    asynchronous: bool
    admission_lag: Annotated[int, Field(ge=0, le=1)]
    captured: Annotated[int, Field(ge=0)]
    captured_a_request: Annotated[int, Field(ge=1)] | None = None
    reserved_memory: Size
    draw_bytes: Annotated[float, Field(ge=0)] | None = None
    top_p: TopP | None = None
    host: Host
    in_process: Host
    provenance: dict[str, str]

    def serving(self, most_requests: int | None) -> Self:
        """Return this build started for at most so many requests at once (None: not limited)."""
        if most_requests is None or self.captured_a_request is None:
            return self
        return self.model_copy(update={"captured": min(self.captured, self.captured_a_request * most_requests)})


class EngineProfile(_Section):
    """A serving engine: whose kernels it runs (the start of a table library's name), its defaults, and builds.

    ``memory_of``: what ``gpu_memory_utilization`` is a share of: the GPU's ``total`` memory, weights included, or what
    is ``free`` once the weights are loaded. ``tuned_experts``: how many experts of how many columns on one GPU the
    engine has tuned kernels for, in 16 bit or fp8 by tensor.
    """

    schema_version: Annotated[int, Field(alias="schema")]
    name: str
    kernels: str
    scheduler: str
    block_size: Annotated[int, Field(ge=1)]
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)]
    memory_of: Literal["total", "free"] = "total"
    tuned_experts: tuple[tuple[int, int], ...] = ()
    builds: tuple[Build, ...] = Field(min_length=1)

    def build(self, version: str | None = None, asynchronous: bool | None = None) -> Build:
        """Return the build of a version (the newest without one); InputError when none fits.

        ``asynchronous`` overrides how that version schedules by default.
        """
        fitting = [build for build in self.builds if version is None or _holds(build, version)]
        if asynchronous is not None:
            # A flag can turn it on or off in versions whose default it is not.
            fitting = [b for b in fitting or self.builds if b.asynchronous is asynchronous] or [
                b for b in self.builds if b.asynchronous is asynchronous
            ]
        if not fitting:
            known = ", ".join(f"{b.name} ({b.since} to {b.before or 'newest'})" for b in self.builds)
            raise InputError(f"engine {self.name} {version}: no build profile fits", hint=f"known: {known}")
        return max(fitting, key=lambda build: _parts(build.since))

    def named(self, name: str) -> Build:
        """Return the build of a name; InputError when there is none."""
        for build in self.builds:
            if build.name == name:
                return build
        raise unknown("build", name, [build.name for build in self.builds])

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an engine profile; InputError says what is wrong where."""
        source = read_yaml(path)
        if (found := source.value.get("schema")) != SCHEMA:
            raise InputError(f"engine profile schema {found!r}, this version reads {SCHEMA}", where=str(path))
        try:
            return cls.model_validate(source.value)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            where = source.where(first["loc"])
            raise InputError(f"{key}: {first['msg'].removeprefix('Value error, ')}", where=where) from None


def known_engines() -> list[str]:
    """Return the names of the shipped engine profiles, sorted."""
    return sorted(path.stem for path in (data_dir("hardware_profiles") / _FOLDER).glob("*.yaml"))


def load_engine(name: str) -> EngineProfile:
    """Return a shipped engine profile by name, or the one in a YAML file by path."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if name not in known_engines():
            raise unknown("engine", name, known_engines())
        path = data_dir("hardware_profiles") / _FOLDER / f"{name}.yaml"
    return _load(path, path.stat().st_mtime_ns) if path.is_file() else EngineProfile.load(path)


@lru_cache(maxsize=32)
def _load(path: Path, changed: int) -> EngineProfile:
    return EngineProfile.load(path)


def _holds(build: Build, version: str) -> bool:
    at = _parts(version)
    return _parts(build.since) <= at and (build.before is None or at < _parts(build.before))


def _parts(version: str) -> tuple[int, ...]:
    """Return a version's leading numbers: ``1.3.0rc20`` is (1, 3, 0)."""
    numbers = []
    for part in version.split("."):
        digits = ""
        for character in part:
            if not character.isdigit():
                break
            digits += character
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
