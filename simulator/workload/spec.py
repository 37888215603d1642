"""The ``workload:`` section of an experiment: a trace by name or path, or a generator, and what to do to either."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from simulator.core.quantity import Duration
from simulator.workload.generators.arrivals import Arrivals, ClosedLoop
from simulator.workload.generators.clients import Clients, Priorities
from simulator.workload.generators.joint import JointLengths
from simulator.workload.generators.lengths import Length
from simulator.workload.generators.models import ModelShares
from simulator.workload.generators.prefixes import Prefix
from simulator.workload.section import Count, Section

_GENERATOR_KEYS = ("arrivals", "prompt", "output", "lengths")


class WorkloadSpec(Section):
    """Which requests arrive when.

    Either ``trace``, or ``arrivals`` with ``prompt`` and ``output`` (or ``lengths``, both together) and how long:
    ``requests``, ``duration`` or both. ``rate_scale``, ``duration``, ``sample`` and ``limit`` then apply in this order.
    """

    trace: Annotated[str, Field(min_length=1)] | None = None
    arrivals: Arrivals | None = None
    prompt: Length | None = None
    output: Length | None = None
    lengths: JointLengths | None = None
    prefix: Prefix | None = None
    clients: Clients | None = None
    priorities: Priorities | None = None
    models: ModelShares | None = None
    requests: Count | None = None
    rate_scale: Annotated[float, Field(gt=0)] = 1.0
    duration: Duration | None = None
    sample: Annotated[float, Field(gt=0, le=1)] | None = None
    limit: Count | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [key for key in _GENERATOR_KEYS if getattr(self, key) is not None]
        if self.trace is not None:
            if given:
                raise ValueError(f"'trace' and '{given[0]}' exclude each other: a trace has arrivals and lengths")
            return self
        if self.arrivals is None:
            raise ValueError("give a 'trace', or 'arrivals' for generated requests")
        if self.lengths is not None and (self.prompt is not None or self.output is not None):
            raise ValueError("'lengths' gives prompt and output together: leave out either it or 'prompt' and 'output'")
        if self.lengths is None and (self.prompt is None or self.output is None):
            missing = "prompt" if self.prompt is None else "output"
            raise ValueError(f"generated requests need '{missing}', or 'lengths' for prompt and output together")
        return self

    @model_validator(mode="after")
    def _closed_loop_has_no_times(self) -> Self:
        if isinstance(self.arrivals, ClosedLoop):
            if self.duration is not None or self.rate_scale != 1:
                key = "duration" if self.duration is not None else "rate_scale"
                raise ValueError(f"a closed loop has no arrival times for '{key}' to act on: give 'requests'")
            if self.prefix is not None and self.prefix.kind == "conversations":
                raise ValueError("conversations need arrival times, and a closed loop has none: use 'kind: groups'")
        return self
