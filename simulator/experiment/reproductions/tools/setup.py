"""What a reproduction's YAML says, whatever the system; a system's own class adds its keys."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from simulator.cost.published_fit import CostFit
from simulator.experiment.named import suggest
from simulator.experiment.reproductions.tools.target import Target
from simulator.experiment.reproductions.tools.world import World, WorldSpec
from simulator.workload.section import Count, Section


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return list(range(value))
    return value


Seeds = Annotated[
    list[Annotated[int, Field(ge=0)]],
    Field(min_length=1),
    BeforeValidator(_seeds),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}),
]


class CalibratedConstant(Section):
    """A number that was chosen so that ours comes near the paper's, and what it would be otherwise."""

    constant: str
    value: float | str
    published: float | str = Field(description="what it is where nothing is calibrated")
    why: str


class Quick(Section):
    """The size of a look that takes seconds."""

    requests: Count
    seeds: Seeds


class Setup(Section):
    """Base of all set-ups: what was claimed, how it is repeated, and what it is held against.

    ``read_in``: where the claim was read; what is only remembered cannot be published. ``seeds``: a list, or how many
    from 0 on. ``requests``: of one simulation. ``horizon``: over what time figures are taken, in words.
    """

    system: str
    paper: str
    venue: str
    claim: str
    source: str
    read_in: list[Literal["paper", "code", "notes", "abstract", "ours"]] = Field(min_length=1)
    setup: str
    horizon: str
    requests: Count
    seeds: Seeds
    quick: Quick
    costs: dict[str, CostFit] = {}
    worlds: dict[str, WorldSpec] = {}
    calibrated: list[CalibratedConstant] = []
    targets: dict[str, Target] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_costs(self) -> Self:
        for name, world in self.worlds.items():
            for cost in (world.cost, world.uncalibrated):
                if cost is not None and cost not in self.costs:
                    raise ValueError(f"worlds.{name}: no cost is named '{cost}'; {suggest(cost, list(self.costs))}")
        return self

    def world(self, name: str, *, calibrated: bool = True) -> World:
        """Return a world to serve requests in; not ``calibrated``: at the costs it names as uncalibrated."""
        spec = self.worlds[name]
        cost = spec.cost if calibrated or spec.uncalibrated is None else spec.uncalibrated
        return World(spec, self.costs[cost])

    def shortened(self) -> Self:
        """Return the set-up at the size of a quick look."""
        return self.model_copy(update={"requests": self.quick.requests, "seeds": self.quick.seeds})
