"""vLLM's Figure 13a and its request rates: how many requests fit, by how memory is handed out."""

import numpy as np

from simulator.core import Streams
from simulator.core.quantity import Duration, Rate
from simulator.experiment.reproductions.tools.capacity import crossing
from simulator.experiment.reproductions.tools.lengths import Lengths
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.seeds import Spread
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import arrivals, workload
from simulator.experiment.reproductions.tools.world import Served, World

_NAMES = {"max": "Orca (Max)", "pow2": "Orca (Pow2)", "oracle": "Orca (Oracle)", "vllm": "vLLM"}


class VLLMSetup(Setup):
    """What ``vllm.yaml`` has beside what every reproduction has: the figure's rate, and those of the sweep."""

    rate: Rate
    rates: list[Rate]
    latency_bound: Duration
    lengths: Lengths


@reproduction("vllm", VLLMSetup)
def reproduce(setup: VLLMSetup, runner: Runner) -> Outcome:
    """Count batched requests in every world, and find the four systems' rates at the latency bound."""
    tasks = [
        (setup.world(name), setup.lengths, setup.rate, setup.requests, seed)
        for name in setup.worlds
        for seed in setup.seeds
    ]
    # Shape (world, seed, batched or admitted).
    found = np.array(runner.map(batches, tasks)).reshape(len(setup.worlds), len(setup.seeds), 2)
    rows = {name: Row(found[at, :, 0].tolist()) for at, name in enumerate(setup.worlds)}
    rows["vllm_admitted"] = Row(found[list(setup.worlds).index("vllm"), :, 1].tolist())

    sweep = [
        (setup.world(name), setup.lengths, rate, setup.requests, seed)
        for name in _NAMES
        for rate in setup.rates
        for seed in setup.seeds
    ]
    # Shape (system, rate, seed).
    shape = len(_NAMES), len(setup.rates), len(setup.seeds)
    latencies = np.array(runner.map(mean_normalised_s, sweep)).reshape(shape)
    knees = np.array([[crossing(setup.rates, seed, setup.latency_bound) for seed in each.T] for each in latencies])
    rows |= {f"knee_{name}": Row(knees[at].tolist()) for at, name in enumerate(_NAMES)}
    rows["order"] = Row((knees[1:] / knees[:-1]).min(axis=0).tolist())
    rows["over_oracle"] = Row((knees[3] / knees[2]).tolist())
    rows["over_max"] = Row((knees[3] / knees[0]).tolist())
    notes = [
        setup.lengths.describe(runner.data),
        "A request counts as batched in the iterations that compute something for it, so vLLM's decodes don't while a "
        "prompt runs alone; whoever is admitted is counted beside it.",
        _without_buddy(rows),
        f"Rates are where the mean normalised latency crosses {setup.latency_bound:g} s/token in {setup.requests} "
        "requests: a longer horizon lowers those of all systems that are past saturation there.",
    ]
    return Outcome(rows, _figure(setup, rows, latencies), notes)


def _without_buddy(rows: dict[str, Row]) -> str:
    oracle, anywhere, paged = (Spread.of(rows[name].ours).mean for name in ("oracle", "oracle_anywhere", "vllm"))
    return (
        f"Without the buddy allocator's rounding Orca (Oracle) batches {anywhere / oracle:.2f} times as many, and "
        f"vLLM's lead over it shrinks from {paged / oracle:.2f} to {paged / anywhere:.2f} times."
    )


def batches(world: World, lengths: Lengths, rate: float, requests: int, seed: int) -> tuple[float, float]:
    """Return how many requests were in the iterations on average, and how many were admitted and not done."""
    served = _serve(world, lengths, rate, requests, seed)
    table, end = served.table, int(served.table.arrival.max())
    inside = np.clip(np.minimum(table.finished, end) - table.admitted, 0, None)
    return served.mean_batch(), float(inside.sum() / end)


def mean_normalised_s(world: World, lengths: Lengths, rate: float, requests: int, seed: int) -> float:
    """Return the mean end-to-end latency per output token."""
    return float(_serve(world, lengths, rate, requests, seed).normalised_s.mean())


def _serve(world: World, lengths: Lengths, rate: float, requests: int, seed: int) -> Served:
    streams = Streams(seed)
    drawn = lengths.draw(streams.get("lengths"), requests)
    return world.serve(workload(arrivals(streams.get("arrivals"), requests, rate), drawn), seed)


def _figure(setup: VLLMSetup, rows: dict[str, Row], latencies: np.ndarray) -> Figure:
    words = list(_NAMES.values())
    ours = [Spread.of(rows[name].ours) for name in _NAMES]
    anywhere = [Spread.of(rows[f"{name}_anywhere"].ours) for name in _NAMES if name != "vllm"]
    bars = [
        Series("paper", words, [setup.targets[name].paper or np.nan for name in _NAMES], paper=True),
        Series("ours", words, [each.mean for each in ours], [each.sd for each in ours]),
        Series("without buddy allocator", words[:3], [each.mean for each in anywhere], [each.sd for each in anywhere]),
    ]
    lines = [
        Series(label, setup.rates, latencies[at].mean(axis=1).tolist(), latencies[at].std(axis=1).tolist())
        for at, label in enumerate(words)
    ]
    return Figure(
        "vLLM, Figure 13a (ShareGPT, 2 requests/s) and request rates, OPT-13B on one A100 of 40 GB",
        [
            Panel("Batched requests", "", "requests", bars),
            Panel(
                "Normalised latency", "requests/s", "s per output token", lines, log_y=True, limit=setup.latency_bound
            ),
        ],
    )
