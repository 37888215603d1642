"""Sections of ``cluster:`` beyond instances and router: links, the split of prefill and decode, migration."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from simulator.core.quantity import Bandwidth, Duration, DurationOrZero
from simulator.experiment.named import Named, Router
from simulator.scheduling.predictors import PredictorChoice
from simulator.workload.section import Count, Section

_Share = Annotated[float, Field(ge=0, le=1)]


class LinksSpec(Section):
    """The links between instances; what is not given is the hardware profile's."""

    within_node: Bandwidth | None = Field(
        None, description="a GPU's bandwidth to others of its node, one direction; none: NVLink's, else PCIe's"
    )
    between_nodes: Bandwidth | None = Field(
        None, description="a GPU's bandwidth to other nodes, one direction; none: InfiniBand's"
    )
    latency: DurationOrZero = Field(0.0, description="what a transfer takes beside its bytes")
    gpus_per_node: Count = Field(8, description="GPUs of a node; instances fill nodes in their order")


class SplitwiseSpec(Section):
    """Splitwise's cluster scheduler: both instances of a request are chosen when it arrives."""

    max_pending_tokens: Count = Field(
        8192, description="prompt tokens that may wait at a prefill instance before a decode instance helps"
    )


class TetriInferSpec(Section):
    """TetriInfer's two-level scheduler: decode instances by predicted lengths, roles that change."""

    predictor: PredictorChoice = Field(
        "bucketed", description="of output lengths: a name, or a mapping of kind and parameters"
    )
    admission: Literal["greedy", "reserve_static", "reserve_dynamic"] = Field(
        "reserve_dynamic", description="when a decode instance takes a request: its KV fits now, or what it may grow to"
    )
    heavy_prompt: Count = Field(512, description="a prompt with more tokens than this is a heavy one")
    heavy_output: Count = Field(128, description="an output with more predicted tokens than this is a heavy one")
    flip_after: Duration | None = Field(
        60.0, description="idle time after which an instance changes its role if others have work; none: never"
    )


class DisaggregationSpec(Section):
    """How requests go from instances with ``role: prefill`` to those with ``role: decode``."""

    decode_router: Router = Field(
        Named(name="least_outstanding"), description="picks the decode instance; cluster.router the prefill instance"
    )
    transfer: Literal["whole", "layerwise"] = Field(
        "whole", description="KV moves after the prompt, or layer by layer while it is computed"
    )
    mode: Literal["push", "pull"] = Field(
        "push",
        description="KV is sent as soon as its blocks are free at the decode instance, or pulled when few wait there",
    )
    backlog: _Share = Field(
        0.05, description="with pull: share of the decode instance's KV blocks that requests without a slot may hold"
    )
    splitwise: SplitwiseSpec | None = Field(
        None, description="choose instances as Splitwise does, in place of cluster.router and decode_router"
    )
    tetriinfer: TetriInferSpec | None = Field(
        None, description="choose instances as TetriInfer does, in place of cluster.router and decode_router"
    )

    @model_validator(mode="after")
    def _one_system(self) -> Self:
        if self.splitwise is not None and self.tetriinfer is not None:
            raise ValueError("splitwise and tetriinfer at once; keep one of them")
        return self


class MigrationSpec(Section):
    """Live migration between instances that are short of KV memory and those that are not, as Llumnix does it."""

    period: Duration = Field(0.05, description="how often instances are compared and paired")
    threshold: Annotated[float, Field(allow_inf_nan=False)] = Field(
        3.0, description="freeness (free KV blocks a request) below which an instance sends requests to others above it"
    )
    last_blocks: Count = Field(16, description="KV blocks left to copy for which a request stops making tokens")
    stages: Count = Field(3, description="copies after which it stops however many are left")
    urgent: int | None = Field(None, description="requests with this priority or a smaller number get headroom")
    headroom: Annotated[int, Field(ge=0)] = Field(
        0, description="KV tokens that count as used on an instance with an urgent request"
    )


class BorrowingSpec(Section):
    """KV memory that instances lend each other, as Infinite-LLM does it."""

    period: Duration = Field(0.1, description="how often it is looked who needs memory and who has some")
    spare: _Share = Field(0.05, description="share of its own KV blocks below which an instance borrows")
    keep: _Share = Field(0.2, description="share of its own KV blocks that an instance does not lend")
