"""S3's gain in throughput over reserving the longest sequence, by how long that is."""

import numpy as np
from numpy.typing import NDArray

from simulator.core import Streams
from simulator.core.quantity import Rate
from simulator.experiment.reproductions.tools.lengths import Lengths
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import arrivals, workload
from simulator.experiment.reproductions.tools.world import Served, World
from simulator.workload.section import Count

_SYSTEMS = {
    "orca": "ORCA, longest sequence reserved",
    "s3": "S3, classifier right",
    "erring": "S3, classifier errs",
    "exact": "exact lengths",
}
_ONCE = 1e9  # requests a second: all there at the beginning


class S3Setup(Setup):
    """What ``s3.yaml`` has beside what every reproduction has."""

    max_lens: list[Count]
    rates: list[Rate]
    lengths: Lengths


@reproduction("s3", S3Setup)
def reproduce(setup: S3Setup, runner: Runner) -> Outcome:
    """Measure throughput at every longest sequence, and latency over rates at the last of them."""
    lens, last = setup.max_lens, setup.max_lens[-1]
    shape = len(_SYSTEMS), len(lens), len(setup.seeds)
    worlds = [setup.world(f"{system}_{longest}") for system in _SYSTEMS for longest in lens]
    tasks = [(world, setup.lengths, setup.requests, seed) for world in worlds for seed in setup.seeds]
    orca, s3, erring, exact = throughputs = np.array(runner.map(tokens_per_s, tasks)).reshape(shape)
    shape = len(_SYSTEMS), len(setup.rates), len(setup.seeds)
    sweep = [
        (setup.world(f"{system}_{last}"), setup.lengths, rate, setup.requests, seed)
        for system in _SYSTEMS
        for rate in setup.rates
        for seed in setup.seeds
    ]
    latencies = np.array(runner.map(mean_normalised_s, sweep)).reshape(shape)

    gain = s3 / orca
    rows = {
        "gain": gain[-1],
        "gain_erring": erring[-1] / orca[-1],
        "gain_exact": exact[-1] / orca[-1],
        **{f"gain_{longest}": gain[at] for at, longest in enumerate(lens[:-1])},
        "grows": (gain[1:] / gain[:-1]).min(axis=0),
        "bounded": (exact / s3).min(axis=0),
        "beats": (erring / orca).min(axis=0),
        "latency": (latencies[0] / latencies[2]).min(axis=0),
    }
    notes = [
        setup.lengths.describe(runner.data),
        "The gain is what the longest sequence makes it, which the abstract does not tell. That it comes near the "
        "paper's at 2,048 tokens says that the claim is plausible, not that its set-up was repeated.",
    ]
    figure = _figure(setup, throughputs, latencies)
    return Outcome({name: Row(values.tolist()) for name, values in rows.items()}, figure, notes)


def tokens_per_s(world: World, lengths: Lengths, requests: int, seed: int) -> float:
    """Return output tokens a second, for requests that are all there at the beginning."""
    served = _serve(world, lengths, _ONCE, requests, seed)
    return float(served.table.output_tokens.sum()) / served.duration_s


def mean_normalised_s(world: World, lengths: Lengths, rate: float, requests: int, seed: int) -> float:
    """Return the mean end-to-end latency per output token."""
    return float(_serve(world, lengths, rate, requests, seed).normalised_s.mean())


def _serve(world: World, lengths: Lengths, rate: float, requests: int, seed: int) -> Served:
    streams = Streams(seed)
    drawn = lengths.draw(streams.get("lengths"), requests)
    return world.serve(workload(arrivals(streams.get("arrivals"), requests, rate), drawn), seed)


def _figure(setup: S3Setup, throughputs: NDArray[np.float64], latencies: NDArray[np.float64]) -> Figure:
    gains = throughputs[1:] / throughputs[0]
    target = setup.targets["gain"].paper or np.nan
    left = [
        Series(label, setup.max_lens, gain.mean(axis=1).tolist(), gain.std(axis=1).tolist())
        for label, gain in zip(list(_SYSTEMS.values())[1:], gains, strict=True)
    ]
    left.append(Series("paper", [setup.max_lens[-1]], [target], paper=True))
    right = [
        Series(label, setup.rates, each.mean(axis=1).tolist(), each.std(axis=1).tolist())
        for label, each in zip(_SYSTEMS.values(), latencies, strict=True)
    ]
    right.append(right.pop(0))  # the systems of both plots first, so that they have one colour in both
    return Figure(
        "S3 against reserving the longest sequence (OPT-13B, Alpaca's lengths)",
        [
            Panel("Throughput over ORCA's", "tokens of the longest sequence", "x", left),
            Panel(f"Latency, {setup.max_lens[-1]} tokens reserved by ORCA", "requests/s", "s per output token", right,
                  log_y=True),
        ],
    )  # fmt: skip
