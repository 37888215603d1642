"""The section ``cluster.spot:`` for pipelines on nodes that leave with notice and come when there are some."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from simulator.core.quantity import Bandwidth, Duration, DurationOrZero, Rate
from simulator.workload.section import Count, Section

_Shape = Annotated[tuple[Count, Count], Field(strict=False)]


class SpotChange(Section):
    """Nodes that come at a time, ready to be used, or that have notice then: those that are there longest."""

    at: DurationOrZero = Field(description="when, from the beginning of the run")
    leave: Count | None = Field(None, description="how many nodes have notice then, those that are there longest")
    come: Count | None = Field(
        None, description="how many nodes are there from then on, empty and ready to load weights"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.leave is None) == (self.come is None):
            raise ValueError("needs either 'leave' or 'come', a number of nodes")
        return self


class SpotSpec(Section):
    """What serves on spot nodes, and when there are which; ``instances[0].count`` is how many pipelines at most."""

    system: Literal["spotserve", "reparallelization", "rerouting"] = Field(
        "spotserve",
        description="parallelism changes and state moves; parallelism changes, all restart; pipelines come and go",
    )
    nodes: Count = Field(description="nodes of cluster.links.gpus_per_node GPUs at the beginning")
    changes: tuple[SpotChange, ...] = Field((), strict=False, description="when nodes leave and come")
    grace: DurationOrZero = Field(30.0, description="from a node's notice to its end")
    shapes: tuple[_Shape, ...] = Field(
        min_length=1,
        strict=False,
        description="pipelines to choose from, each [stages, tensor ranks]; rerouting has the first only",
    )
    batches: tuple[Count, ...] = Field(
        (1, 2, 4, 8), min_length=1, strict=False, description="max_num_seqs to choose from"
    )
    rate: Rate | None = Field(None, description="requests to configure for; none: those of the last window")
    cv: Annotated[float, Field(ge=0)] = Field(1.0, description="coefficient of variation of times between arrivals")
    window: Duration = Field(30.0, description="without a rate: over what time it is measured, and how often")
    storage: Bandwidth = Field(description="what a node loads weights with from storage")
    restart: DurationOrZero = Field(0.0, description="what starting an engine takes before it loads weights")
