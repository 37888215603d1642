"""What a plan's YAML may say."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from simulator.core.quantity import Duration, HourlyPrice, Power
from simulator.experiment.named import TechniqueChoice, known_model
from simulator.experiment.schema import Count, Fraction, Strict, none_if_blank
from simulator.workload.spec import WorkloadSpec

Percentile = Literal["mean", "median", "p90", "p95", "p99"]
Limits = dict[Percentile, Duration]


def _limits(value: Any) -> Any:
    # A duration alone is a limit for every request; "each" keeps the two kinds apart below.
    return value if value is None or isinstance(value, dict) else {"each": value}


OneOrPercentiles = Annotated[dict[Percentile | Literal["each"], Duration], BeforeValidator(_limits)]


class PlanSlo(Strict):
    """Objectives of the whole load: percentiles, or a limit for each request that a share of them must meet."""

    ttft: OneOrPercentiles = Field({}, description="time to first token: {p99: 500ms}, or 500ms for each request")
    tpot: OneOrPercentiles = Field({}, description="time per output token after the first")
    itl: Limits = Field({}, description="gaps between tokens; percentiles only")
    e2el: OneOrPercentiles = Field({}, description="end-to-end latency")
    attainment: Fraction = Field(0.99, description="share of requests that must meet all limits for each request")


class Budget(Strict):
    """The most that a cluster may have; what is not given is not limited, but for ``gpus``."""

    gpus: Count = Field(128, description="GPUs in all")
    cost: HourlyPrice | None = Field(None, description="price of all GPUs: 100 USD/h")
    power: Power | None = Field(None, description="mean power of all GPUs under the planned load")


class Search(Strict):
    """How much simulation the plan may cost: the defaults find the best of a hundred candidates in a minute."""

    probe: Annotated[int, Field(strict=True, ge=100)] = Field(
        1000, description="requests of the load's busiest stretch that find each candidate's rate at the SLO edge"
    )
    slice: Fraction = Field(0.25, description="share of the load, its busiest stretch, that survivors are sized on")
    keep: Fraction = Field(0.33, description="share of candidates that goes on from each round to the next")
    finalists: Count = Field(5, description="candidates sized on the whole load, at least")
    method: Literal["grid", "optuna"] = Field("grid", description="probe every candidate, or those that Optuna picks")
    trials: Count = Field(100, description="candidates that Optuna may probe")


class PlanSpec(Strict):
    """A capacity plan: a load, objectives, a budget, and the clusters to choose from."""

    name: str
    seed: Annotated[int, Field(strict=True, ge=0)] = 0
    workload: WorkloadSpec
    model: Annotated[str, BeforeValidator(known_model)]
    techniques: Annotated[tuple[TechniqueChoice, ...], BeforeValidator(none_if_blank)] = Field(
        (), description="what-if knobs, as in an experiment"
    )
    cluster: dict[str, Any] = Field(description="one unit of the cluster; sizes are multiples of its instances' counts")
    slo: PlanSlo
    objective: Literal["gpus", "cost", "power"] = Field("gpus", description="what to make least")
    budget: Budget = Budget()
    prices: dict[str, HourlyPrice] = Field({}, description="price of a GPU by hardware, instead of the profile's")
    space: dict[str, list[Any] | dict[str, Any]] = Field(
        {}, description="values of a key to choose from, as a list or by label; plain keys are an instance's"
    )
    search: Search = Search()

    @field_validator("slo")
    @classmethod
    def _some_objective(cls, slo: PlanSlo) -> PlanSlo:
        if not (slo.ttft or slo.tpot or slo.itl or slo.e2el):
            raise ValueError("needs at least one objective, such as 'ttft: {p99: 500ms}'")
        return slo

    @field_validator("space")
    @classmethod
    def _some_values(cls, space: dict[str, Any]) -> dict[str, Any]:
        for key, values in space.items():
            if not values:
                raise ValueError(f"'{key}' has no values to choose from")
        return space
