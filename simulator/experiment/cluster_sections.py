"""Sections of ``cluster:`` beyond instances and router: links, and the split of prefill and decode."""

from typing import Annotated, Literal

from pydantic import Field

from simulator.core.quantity import Bandwidth, DurationOrZero
from simulator.experiment.named import Named, Router
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
