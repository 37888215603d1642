"""What an experiment's YAML may say: the models behind ``tokenyard schema``.

Unknown keys, numbers written as text and values out of range are refused; quantities carry their unit.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from simulator.core.quantity import Duration, HourlyPrice, Size
from simulator.experiment.cluster_sections import BorrowingSpec, DisaggregationSpec, LinksSpec, MigrationSpec
from simulator.experiment.fleet_sections import AutoscalingSpec, FaultsSpec
from simulator.experiment.named import (
    Named,
    Router,
    Scheduler,
    TechniqueChoice,
    known_engine,
    known_hardware,
    known_model,
    scheduler_of,
)
from simulator.experiment.spot_sections import SpotSpec
from simulator.experiment.sweeps.section import Sweep
from simulator.workload.spec import WorkloadSpec


def _folder_safe(name: Any) -> Any:
    if isinstance(name, str) and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_. +-]{0,99}", name):
        raise ValueError(f"'{name}' cannot name a folder; use letters, digits, '_', '-', '.', and start with a letter")
    return name


def _count_or_auto(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"must be a whole number above 0 or 'auto', not {value!r}")


def _empty_if_blank(value: Any) -> Any:
    # "compare:" with nothing below it is what is left when a person comments all entries out.
    return {} if value is None else value


def none_if_blank(value: Any) -> Any:
    """Return a list of techniques, empty where nothing follows its key."""
    if isinstance(value, str | dict):
        raise ValueError("expected a list of techniques, such as [w8a8]; each is a name or a mapping with 'name'")
    return () if value is None else value


Count = Annotated[int, Field(strict=True, ge=1)]
CountOrAuto = Annotated[
    int | Literal["auto"],
    BeforeValidator(_count_or_auto),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]}),
]
Fraction = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]
FractionOrAuto = Fraction | Literal["auto"]
Switch = Annotated[bool, Field(strict=True)]
SwitchOrAuto = Annotated[bool, Field(strict=True)] | Literal["auto"]


class Strict(BaseModel):
    """A section of the YAML: no key beyond those listed, and no change once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EngineSpec(Strict):
    """Which serving engine an instance runs."""

    name: Annotated[str, BeforeValidator(known_engine)] = Field(
        "vllm", description="an engine profile's name or the path of its YAML"
    )
    version: Annotated[str, Field(strict=True)] | None = Field(
        None, description="its version, such as '0.12.0'; none: the newest that was measured"
    )
    server: Switch = Field(True, description="behind its HTTP server; false: requests are handed to it in process")
    async_scheduling: SwitchOrAuto = Field(
        "auto", description="decide on an iteration while the one before runs; auto: as that version does by default"
    )


def _engine(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class InstanceSpec(Strict):
    """A kind of serving instance and how many of it run."""

    count: Count = Field(1, description="how many instances of this kind")
    role: Literal["mixed", "prefill", "decode"] = Field(
        "mixed", description="which part of a request they serve; mixed: all of it"
    )
    hardware: Annotated[str, BeforeValidator(known_hardware)] = Field(
        description="a hardware profile's name (tokenyard profiles) or the path of a profile YAML"
    )
    model: Annotated[str, BeforeValidator(known_model)] | None = Field(
        None, description="the model that these instances serve, where there are several; none: the experiment's"
    )
    tensor_parallel: Count = Field(1, description="GPUs an instance spreads each layer over")
    pipeline_parallel: Count = Field(1, description="stages of layers, on tensor_parallel GPUs each")
    expert_parallel: Switch = Field(False, description="whole experts on each GPU instead of a share of every expert")
    engine: Annotated[EngineSpec, BeforeValidator(_engine)] = Field(
        EngineSpec(), description="the serving engine: its kernels, host cost and memory rules"
    )
    scheduler: Scheduler = Field(
        Named(name="vllm"), description="the policy that decides each iteration; default: the engine's own"
    )
    quantization: Annotated[str, Field(strict=True)] | None = Field(
        None, description="format of the weights: fp8, fp8_block, int8, w4a16, nvfp4, mxfp4; none: the checkpoint's"
    )
    kv_cache_dtype: Literal["auto", "bfloat16", "fp8", "int8"] = Field(
        "auto", description="format of the KV cache; auto: the checkpoint's, else 16 bit"
    )
    kv_blocks: CountOrAuto = Field("auto", description="KV cache blocks; auto: what fits in memory")
    block_size: CountOrAuto = Field("auto", description="tokens a KV cache block holds; auto: the engine's default")
    gpu_memory_utilization: FractionOrAuto = Field(
        "auto", description="share of the GPU's memory the engine may use; auto: the engine's default"
    )
    swap_space: Size | None = Field(
        None, description="host memory a GPU for KV blocks that a policy swaps out; none: nothing can be swapped"
    )
    max_model_len: CountOrAuto = Field("auto", description="longest prompt plus output in tokens; auto: the model's")
    prefix_caching: Switch = Field(True, description="keep finished prompts' KV blocks for requests that start alike")
    sampling: Literal["greedy", "random", "top_p"] = Field(
        "greedy",
        description="how tokens are chosen: greedy takes the most probable; random draws from all; top_p draws from the"
        " most probable ones, for which the engine sorts each request's logits",
    )
    shared_prefix_reads: Literal["once", "each"] = Field(
        "each",
        description="how often an iteration's decodes read KV blocks that several requests share: once for all of them"
        " (as FlashInfer's composable formats allow), or once for each",
    )
    price: HourlyPrice | None = Field(None, description="what an hour of one GPU costs; none: the hardware profile's")

    @model_validator(mode="before")
    @classmethod
    def _scheduler_of_engine(cls, values: Any) -> Any:
        """Name the engine's own scheduler where none is named."""
        if not isinstance(values, dict):
            return values
        engine = values.get("engine")
        name = engine.get("name") if isinstance(engine, dict) else engine
        choice = values.get("scheduler", {})
        if not isinstance(name, str) or name == "vllm" or not isinstance(choice, dict) or "name" in choice:
            return values
        return values | {"scheduler": {"name": scheduler_of(name), **choice}}


class ClusterSpec(Strict):
    """The serving instances and the router before them."""

    instances: tuple[InstanceSpec, ...] = Field(min_length=1)
    router: Router = Field(Named(name="least_outstanding"), description="the policy that picks a request's instance")
    links: LinksSpec = Field(LinksSpec(), description="what KV travels between instances")
    disaggregation: DisaggregationSpec | None = Field(
        None, description="how requests go from prefill to decode instances, where instances have these roles"
    )
    migration: MigrationSpec | None = Field(
        None, description="how decoding requests move between instances; none: they stay where they are"
    )
    borrowing: BorrowingSpec | None = Field(
        None, description="how instances lend each other KV memory; none: each has its own"
    )
    faults: FaultsSpec | None = Field(
        None, description="instances that crash, slow down, lose their links or are taken away, and their requests"
    )
    autoscaling: AutoscalingSpec | None = Field(
        None, description="instances are started and stopped as load asks for it; none: all serve all the time"
    )
    spot: SpotSpec | None = Field(
        None, description="pipelines on nodes that leave with notice and come; none: all GPUs are always there"
    )


class Slo(Strict):
    """Service level objectives of one request; a request is good when it meets all that are set."""

    ttft: Duration | None = Field(None, description="time to first token")
    tpot: Duration | None = Field(None, description="time per output token after the first")
    e2el: Duration | None = Field(None, description="end-to-end latency")


class Experiment(Strict):
    """One experiment: a workload, a model, a cluster, and the variants to compare."""

    name: Annotated[str, BeforeValidator(_folder_safe)] = Field(
        description="the results folder's name; default: the file's name"
    )
    seed: Annotated[int, Field(strict=True, ge=0)] = Field(0, description="all random draws derive from it")
    workload: WorkloadSpec
    model: Annotated[str, BeforeValidator(known_model)] = Field(
        description="a model's name (tokenyard models) or the path of a Hugging Face config.json"
    )
    cluster: ClusterSpec
    techniques: Annotated[tuple[TechniqueChoice, ...], BeforeValidator(none_if_blank)] = Field(
        (), description="what-if knobs (tokenyard techniques), applied in this order to requests, model and instances"
    )
    slo: Annotated[Slo, BeforeValidator(_empty_if_blank)] = Slo()
    compare: Annotated[dict[str, dict[str, Any]], BeforeValidator(_empty_if_blank)] = Field(
        {}, description="variants by name; each maps key paths such as cluster.instances[*].scheduler to values"
    )
    sweep: Annotated[Sweep, BeforeValidator(_empty_if_blank)] = Field(
        Sweep(), description="values to try by key path, and seeds; every variant runs at each combination of them"
    )

    @field_validator("compare", mode="before")
    @classmethod
    def _empty_variants(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: _empty_if_blank(overrides) for name, overrides in value.items()}
