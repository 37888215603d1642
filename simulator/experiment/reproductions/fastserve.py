"""FastServe: how many requests a second skip-join MLFQ serves within a bound, against FCFS and naive MLFQ."""

from typing import Annotated

from pydantic import Field

from simulator.core import Streams
from simulator.core.quantity import Duration, Rate
from simulator.experiment.reproductions.tools.capacity import max_rate
from simulator.experiment.reproductions.tools.lengths import LognormalLengths
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.seeds import Spread, by_seed
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import arrivals, workload
from simulator.experiment.reproductions.tools.world import Served, World
from simulator.workload.section import Count

_SHORT, _LONG = "400", "2000"  # the horizons' names in the targets
_FEW = 300


class FastServeSetup(Setup):
    """What ``fastserve.yaml`` has beside what every reproduction has."""

    bound: Duration
    longer: Count
    highest: Rate
    check_simulation: dict[str, dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]]]
    precision: Annotated[float, Field(gt=0, lt=1)]
    outputs: dict[str, LognormalLengths]
    long_prompts: LognormalLengths
    long_prompts_rate: Rate


@reproduction("fastserve", FastServeSetup)
def reproduce(setup: FastServeSetup, runner: Runner) -> Outcome:
    """Find the capacities of both horizons, and serve prompts that are long against a quantum."""
    horizons = {_SHORT: setup.requests, _LONG: setup.longer * setup.requests}
    cases = [
        (policy, horizon, name)
        for horizon in horizons
        for name in setup.outputs
        for policy in ("fcfs", "skip_join", "naive")
        if policy != "naive" or (horizon, name) == (_SHORT, "cv_1_5")
    ]
    tasks = [
        (setup.world(policy), setup.outputs[name], horizons[horizon], seed, setup.bound, _guess(setup, *case),
         setup.highest, setup.precision)
        for case in cases
        for policy, horizon, name in [case]
        for seed in setup.seeds
    ]  # fmt: skip
    found = by_seed(runner.map(capacity, tasks), len(setup.seeds))
    rates = dict(zip(cases, found, strict=True))
    rows = {"_".join(case): Row(values) for case, values in rates.items()}
    for horizon in horizons:
        for name in setup.outputs:
            pairs = zip(rates["skip_join", horizon, name], rates["fcfs", horizon, name], strict=True)
            rows[f"ratio_{horizon}_{name}"] = Row([skip / fcfs for skip, fcfs in pairs])
    ratios = [rows[f"ratio_{horizon}_{name}"].ours for horizon in horizons for name in setup.outputs]
    rows["better"] = Row([min(each) for each in zip(*ratios, strict=True)])
    rows["claimed"] = rows[f"ratio_{_SHORT}_cv_1_5"]
    rows |= _long_prompts(setup, runner)
    notes = [
        "the check simulation shares its assumptions with these rows: that they agree says that the policy is built "
        "right, not that the paper's engine gains as much",
        "the gain hangs on the horizon: steadily loaded, all policies that never idle saturate at nearly the same rate",
        *(
            f"output CV {_cv(name)}: {each.describe()}, clipped and not rescaled"
            for name, each in setup.outputs.items()
        ),
    ]
    return Outcome(rows, _figure(setup, rows), notes)


def capacity(
    world: World,
    lengths: LognormalLengths,
    requests: int,
    seed: int,
    bound: float,
    guess: float,
    highest: float,
    precision: float,
) -> float:
    """Return the largest rate (1/s, none above ``highest``) with a mean latency per output token within a bound (s)."""

    def mean(rate: float) -> float:
        return float(_serve(world, lengths, requests, rate, seed).normalised_s.mean())

    # So few requests may be served within the bound however fast they come.
    if requests <= _FEW and mean(highest) <= bound:
        return highest
    return max_rate(mean, bound, guess * 0.9, guess * 1.1, precision=precision)


def latencies(world: World, lengths: LognormalLengths, requests: int, rate: float, seed: int) -> tuple[float, float]:
    """Return the mean latency per output token and the mean TTFT, in seconds."""
    served = _serve(world, lengths, requests, rate, seed)
    return float(served.normalised_s.mean()), float(served.ttft_s.mean())


def _serve(world: World, lengths: LognormalLengths, requests: int, rate: float, seed: int) -> Served:
    streams = Streams(seed)
    drawn = lengths.draw(streams.get("lengths"), requests)
    return world.serve(workload(arrivals(streams.get("arrivals"), requests, rate), drawn), seed)


def _guess(setup: FastServeSetup, policy: str, horizon: str, name: str) -> float:
    """Return where to begin to look; the answer doesn't hang on it."""
    fcfs, skip_join = setup.check_simulation[horizon][name]
    return fcfs if policy == "fcfs" else skip_join


def _long_prompts(setup: FastServeSetup, runner: Runner) -> dict[str, Row]:
    tasks = [
        (setup.world(policy), setup.long_prompts, setup.requests, setup.long_prompts_rate, seed)
        for policy in ("naive", "skip_join")
        for seed in setup.seeds
    ]
    found = runner.map(latencies, tasks)
    pairs = list(zip(found[: len(setup.seeds)], found[len(setup.seeds) :], strict=True))
    return {
        key: Row([naive[column] / skip_join[column] for naive, skip_join in pairs])
        for column, key in enumerate(("naive_long", "naive_long_ttft"))
    }


def _cv(name: str) -> str:
    return name.removeprefix("cv_").replace("_", ".")


def _figure(setup: FastServeSetup, rows: dict[str, Row]) -> Figure:
    panels = []
    for horizon, title in ((_SHORT, "400 requests"), (_LONG, "2,000 requests")):
        labels = [f"CV {_cv(name)}" for name in setup.outputs]
        series = []
        for column, (policy, name) in enumerate((("fcfs", "FCFS"), ("skip_join", "skip-join MLFQ"))):
            keys = [f"{policy}_{horizon}_{each}" for each in setup.outputs]
            ours = [Spread.of(rows[key].ours) for key in keys]
            checked = [setup.check_simulation[horizon][each][column] for each in setup.outputs]
            series += [
                Series(name, labels, [each.mean for each in ours], [each.sd for each in ours]),
                Series(f"{name}, check simulation", labels, checked),
            ]
        panels.append(Panel(title, "spread of output lengths", "requests/s at 0.3 s per output token", series))
    return Figure("FastServe: capacity by policy, horizon and spread of outputs", panels)
