"""Sections of ``cluster:`` for instances that come and go: faults and autoscaling."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from simulator.core.quantity import Duration, DurationOrZero
from simulator.experiment.named import Autoscaler, Named
from simulator.workload.section import Count, Section

_Index = Annotated[int, Field(ge=0)]
_Factor = Annotated[float, Field(gt=0)]


class FaultSpec(Section):
    """What goes wrong with an instance."""

    kind: Literal["crash", "slow", "link_loss", "spot"] = Field(
        description="its engine is gone; its iterations take longer; nothing reaches it; it is taken away after notice"
    )
    lasts: Duration | None = Field(
        None, description="until it serves again (crash: restarted, spot: replaced); none: never"
    )
    factor: _Factor | None = Field(None, description="with slow: by how much longer iterations take")
    grace: DurationOrZero | None = Field(None, description="with spot: time between the notice and the end")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind in ("slow", "link_loss") and self.lasts is None:
            raise ValueError(f"a {self.kind} fault needs 'lasts', such as 30s")
        if (self.kind == "slow") != (self.factor is not None):
            raise ValueError(f"'factor' {'is missing' if self.kind == 'slow' else 'belongs to slow faults'}")
        if (self.kind == "spot") != (self.grace is not None):
            raise ValueError(f"'grace' {'is missing' if self.kind == 'spot' else 'belongs to spot faults'}")
        return self


class FaultEventSpec(FaultSpec):
    """A fault at a given time."""

    at: DurationOrZero = Field(description="when, from the beginning of the run")
    instance: _Index = Field(description="which instance, numbered from 0 in the order of cluster.instances")


class RandomFaultSpec(FaultSpec):
    """A fault that comes again and again, at random (a Poisson process on each instance)."""

    mtbf: Duration = Field(description="mean time between two of them on one instance")
    instances: tuple[_Index, ...] | None = Field(None, strict=False, description="which instances; none: all")


class FaultsSpec(Section):
    """What goes wrong, and what becomes of the requests it meets."""

    events: tuple[FaultEventSpec, ...] = Field((), strict=False, description="faults at given times")
    random: tuple[RandomFaultSpec, ...] = Field(
        (), strict=False, description="faults at random times, drawn from the run's seed"
    )
    in_flight: Literal["retry", "resume", "migrate", "fail"] = Field(
        "resume",
        description="requests on a lost instance start again elsewhere, have prompt and tokens made computed again"
        " there, move their KV there if there is notice (else as resume), or fail",
    )
    retries: Annotated[int, Field(ge=0)] | None = Field(
        None, description="how often a request may be lost before it fails; none: any number"
    )
    noticed_after: DurationOrZero = Field(0.0, description="until the requests of a lost instance are sent on")


class AutoscalingSpec(Section):
    """Instances that are started and stopped; cluster.instances says how many there can be."""

    policy: Autoscaler = Field(Named(name="target_utilization"), description="the policy that says how many to have")
    min: Count = Field(1, description="fewest instances that serve or start")
    max: Count | None = Field(None, description="most of them; none: all of cluster.instances")
    initial: Count | None = Field(None, description="how many serve at the beginning; none: min")
    period: Duration = Field(15.0, description="how often the policy is asked (default: Kubernetes')")
    startup: DurationOrZero = Field(description="from the decision until an instance serves; it is paid for meanwhile")
    calm: DurationOrZero = Field(
        300.0, description="how long the policy must want fewer before there are fewer (default: Kubernetes')"
    )
