"""Sarathi-Serve: what chunked prefills and hybrid batches do, alone and together, and the load they allow."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from simulator.core import Streams
from simulator.core.quantity import Duration, Rate
from simulator.experiment.reproductions.tools.capacity import max_rate
from simulator.experiment.reproductions.tools.lengths import Lengths
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.seeds import Spread, by_seed
from simulator.experiment.reproductions.tools.setup import Seeds, Setup
from simulator.experiment.reproductions.tools.workloads import arrivals, workload
from simulator.experiment.reproductions.tools.world import Served, World
from simulator.workload.section import Count, Section

_TABLE = ("hybrid", "chunks", "both")


class Limit(Section):
    """A limit on the P99 time between tokens, and the world that Sarathi-Serve meets it in."""

    tbt: Duration
    world: str


class Capacity(Section):
    """How capacities are found: with ``times`` the table's requests, to a relative ``precision``.

    ``limits``: on the time between tokens, by name, the strictest first; ``wait``: on the median wait.
    """

    times: Count
    seeds: Seeds
    precision: Annotated[float, Field(gt=0, lt=1)]
    wait: Duration
    limits: dict[str, Limit] = Field(min_length=1)


class SarathiSetup(Setup):
    """What ``sarathi.yaml`` has beside what every reproduction has; ``lengths_seed``: of the one order of lengths."""

    rate: Rate
    lengths: Lengths
    lengths_seed: int
    capacity: Capacity


@reproduction("sarathi", SarathiSetup)
def reproduce(setup: SarathiSetup, runner: Runner) -> Outcome:
    """Serve the table's requests in every world, then look for capacities; with and without calibrated constants."""
    rows = _table(setup, runner)
    rates = _capacities(setup, runner)
    gains = {name: (rates[name, "sarathi"] / rates[name, "vllm"]) for name in setup.capacity.limits}
    for name, gain in gains.items():
        rows[f"gain_{name}"] = Row(gain[0].tolist(), gain[1].tolist())
    ordered = np.array(list(gains.values()))
    falls = (ordered[:-1] / ordered[1:]).min(axis=0)
    rows["gain_falls"] = Row(falls[0].tolist(), falls[1].tolist())
    means = {case: Spread.of(found[0].tolist()).mean for case, found in rates.items()}
    found = "; ".join(
        f"{name} {means[name, 'sarathi']:.2f} and {means[name, 'vllm']:.2f}" for name in setup.capacity.limits
    )
    notes = [
        setup.lengths.describe(runner.data),
        f"capacities in requests/s, Sarathi-Serve's and vLLM's, means of {len(setup.capacity.seeds)} seeds: {found}",
        "one cost model for all policies, so every gain is the policy's; vLLM as its paper has it, whole prompts first",
    ]
    return Outcome(rows, _figure(setup, rows, rates), notes)


def _table(setup: SarathiSetup, runner: Runner) -> dict[str, Row]:
    worlds = [setup.world(name, calibrated=calibrated) for calibrated in (True, False) for name in _TABLE]
    common = (setup.lengths, setup.lengths_seed, setup.requests)
    tasks = [(world, *common, setup.rate, seed, runner.data) for world in worlds for seed in setup.seeds]
    # Shape (calibrated or not, world, seed, TTFT or TBT).
    values = np.array(runner.map(table_row, tasks)).reshape(2, len(_TABLE), len(setup.seeds), 2)
    rows = {
        f"{name}_{metric}": Row(*values[:, world, :, column].tolist())
        for world, name in enumerate(_TABLE)
        for column, metric in enumerate(("ttft", "tbt"))
    }
    ttft, tbt = values[..., 0], values[..., 1]
    hybrid, chunks, both = (ttft[:, world] for world in range(3))
    rows["ttft_order"] = Row(*np.minimum(both / hybrid, chunks / both).tolist())
    hybrid, chunks, both = (tbt[:, world] for world in range(3))
    rows["tbt_order"] = Row(*np.minimum(hybrid / both, chunks / both).tolist())
    return rows


def _capacities(setup: SarathiSetup, runner: Runner) -> dict[tuple[str, str], Any]:
    """Return, by limit and engine, capacities of shape (calibrated or not, seed)."""
    capacity = setup.capacity
    requests = capacity.times * setup.requests
    seeds = capacity.seeds[: len(setup.seeds)]
    cases = [
        (name, which, limit.world if which == "sarathi" else "vllm", limit.tbt)
        for name, limit in capacity.limits.items()
        for which in ("sarathi", "vllm")
    ]
    common = (setup.lengths, setup.lengths_seed, requests)
    tasks = [
        (setup.world(world, calibrated=calibrated), *common, tbt, capacity.wait, capacity.precision, seed, runner.data)
        for _, _, world, tbt in cases
        for calibrated in (True, False)
        for seed in seeds
    ]
    found = np.array(by_seed(runner.map(capacity_of, tasks), len(seeds))).reshape(len(cases), 2, len(seeds))
    return {(name, which): found[case] for case, (name, which, _, _) in enumerate(cases)}


def table_row(
    world: World, lengths: Lengths, lengths_seed: int, requests: int, rate: float, seed: int, data: str | None
) -> tuple[float, float]:
    """Return the median TTFT and the 99th percentile of the time between tokens, in seconds."""
    served = _serve(world, lengths, lengths_seed, requests, rate, seed, data)
    return float(np.median(served.ttft_s)), served.gap_s(99)


def capacity_of(
    world: World,
    lengths: Lengths,
    lengths_seed: int,
    requests: int,
    tbt: float,
    wait: float,
    precision: float,
    seed: int,
    data: str | None,
) -> float:
    """Return the largest rate at which the P99 time between tokens and the median wait are within their limits."""

    def worst(rate: float) -> float:
        served = _serve(world, lengths, lengths_seed, requests, rate, seed, data)
        return max(served.gap_s(99) / tbt, float(np.median(served.waiting_s)) / wait)

    return max_rate(worst, 1.0, 0.35, 1.4, precision=precision)


def _serve(
    world: World, lengths: Lengths, lengths_seed: int, requests: int, rate: float, seed: int, data: str | None
) -> Served:
    # The generator with which the artifact's data frame puts its rows in order.
    order: Any = np.random.RandomState(lengths_seed)
    times = arrivals(Streams(seed).get("arrivals"), requests, rate)
    return world.serve(workload(times, lengths.draw(order, requests, data)), seed)


def _figure(setup: SarathiSetup, rows: dict[str, Row], rates: dict[tuple[str, str], Any]) -> Figure:
    panels = []
    names = {"hybrid": "hybrid\nbatches", "chunks": "chunked\nprefills", "both": "both"}
    for metric, title in (("ttft", "P50 TTFT"), ("tbt", "P99 time between tokens")):
        ours = [Spread.of(rows[f"{name}_{metric}"].ours) for name in names]
        plain = [Spread.of(rows[f"{name}_{metric}"].uncalibrated or ()) for name in names]
        paper = [setup.targets[f"{name}_{metric}"].paper or np.nan for name in names]
        labels = list(names.values())
        series = [
            Series("paper", labels, paper, paper=True),
            Series("ours", labels, [each.mean for each in ours], [each.sd for each in ours]),
            Series("ours, uncalibrated", labels, [each.mean for each in plain], [each.sd for each in plain]),
        ]
        panels.append(Panel(title, "", "seconds", series))
    limits = [f"{limit.tbt:g} s" for limit in setup.capacity.limits.values()]
    capacities = []
    for which, label in (("sarathi", "Sarathi-Serve"), ("vllm", "vLLM")):
        spreads = [Spread.of(rates[name, which][0].tolist()) for name in setup.capacity.limits]
        capacities.append(Series(label, limits, [each.mean for each in spreads], [each.sd for each in spreads]))
    panels.append(Panel("Capacity", "limit on the P99 time between tokens", "requests/s", capacities))
    return Figure("Sarathi-Serve, Table 4 (sharegpt4), and capacity", panels)
