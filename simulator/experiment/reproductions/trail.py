"""TRAIL: latency and TTFT against the rate, with memory to spare and where it is short."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.core import Streams
from simulator.core.quantity import Rate
from simulator.experiment.reproductions.tools.lengths import Lengths
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import arrivals, workload
from simulator.experiment.reproductions.tools.world import World
from simulator.workload.section import Count, Section

Float = NDArray[np.float64]
_NAMES = {"fcfs": "FCFS", "trail": "TRAIL, C = 0.8"}
_AT_THE_TOP = ("sjf", "trail_c_1")  # whom the highest rate alone is asked for


class Tight(Section):
    """The same comparison where memory decides who runs, in the worlds named ``tight_...``."""

    rates: list[Rate] = Field(min_length=1)
    requests: Count = Field(description="at the highest rate; at lower ones as many as come in the same time")
    lengths: Lengths


class TrailSetup(Setup):
    """What ``trail.yaml`` has beside what every reproduction has."""

    rates: list[Rate] = Field(min_length=1)
    lengths: Lengths
    tight: Tight


@reproduction("trail", TrailSetup)
def reproduce(setup: TrailSetup, runner: Runner) -> Outcome:
    """Serve the same requests under every policy at every rate."""
    rates, seeds, tight = setup.rates, setup.seeds, setup.tight
    most = min(tight.requests, setup.requests)
    tasks = [
        *(
            (setup.world(name), setup.lengths, rate, setup.requests, s)
            for name in _NAMES
            for rate in rates
            for s in seeds
        ),
        *((setup.world(name), setup.lengths, rates[-1], setup.requests, s) for name in _AT_THE_TOP for s in seeds),
        *(
            (setup.world(f"tight_{name}"), tight.lengths, rate, round(most * rate / tight.rates[-1]), s)
            for name in _NAMES
            for rate in tight.rates
            for s in seeds
        ),
    ]
    # Shapes: (policy, rate, seed, figure) and, of those at the highest rate, (policy, seed, figure).
    many, few, short = np.split(
        np.array(runner.map(measure, tasks)),
        np.cumsum([len(_NAMES) * len(rates) * len(seeds), len(_AT_THE_TOP) * len(seeds)]),
    )
    fcfs, trail = many = many.reshape(len(_NAMES), len(rates), len(seeds), 4)
    sjf, c_1 = few.reshape(len(_AT_THE_TOP), len(seeds), 4)
    tight_fcfs, tight_trail = short.reshape(len(_NAMES), len(tight.rates), len(seeds), 4)
    gain, tight_gain = fcfs[..., 0] / trail[..., 0], tight_fcfs[..., 0] / tight_trail[..., 0]
    rows = {
        "latency": gain[-1],
        "ttft": fcfs[-1, :, 1] / trail[-1, :, 1],
        "every_load": gain.min(axis=0),
        "c_latency": c_1[:, 0] / trail[-1, :, 0],
        "sjf_latency": sjf[:, 0] / trail[-1, :, 0],
        "sjf_p99": sjf[:, 2] / trail[-1, :, 2],
        "p99_latency": fcfs[-1, :, 2] / trail[-1, :, 2],
        "tight_latency": tight_gain[-1],
        "tight_ttft": tight_fcfs[-1, :, 1] / tight_trail[-1, :, 1],
        "tight_every_load": tight_gain.min(axis=0),
    }
    notes = [
        setup.lengths.describe(),
        f"mean latency of FCFS over TRAIL's (C = 0.8): {_by_rate(gain, rates)}. While hardly anybody waits for one of "
        "the 256 places, the order is all one; beyond, the gain grows with the overload and the number of requests. At "
        "which rates the published range was measured was not read. Who was preempted keeps KV, so where memory is no "
        "matter, C hardly is either",
        f"the same with 12,000 KV tokens, where a request evicted for a shorter one is computed again: "
        f"{_by_rate(tight_gain, tight.rates)}. Where hardly anybody waits, that costs more than it saves",
    ]
    return Outcome({key: Row(values.tolist()) for key, values in rows.items()}, _figure(setup, many), notes)


def measure(world: World, lengths: Lengths, rate: float, requests: int, seed: int) -> tuple[float, float, float, int]:
    """Return mean latency, mean TTFT and P99 latency in seconds, and how often requests were preempted."""
    streams = Streams(seed)
    drawn = lengths.draw(streams.get("lengths"), requests)
    served = world.serve(workload(arrivals(streams.get("arrivals"), requests, rate), drawn), seed)
    latency = served.e2e_s
    return float(latency.mean()), float(served.ttft_s.mean()), float(np.percentile(latency, 99)), served.preemptions


def _by_rate(gains: Float, rates: list[float]) -> str:
    return ", ".join(f"{gain:.3f} at {rate:g}/s" for gain, rate in zip(gains.mean(axis=1), rates, strict=True))


def _figure(setup: TrailSetup, found: Float) -> Figure:
    panels = []
    for column, title in enumerate(("mean latency", "mean TTFT", "P99 latency")):
        series = [
            Series(name, setup.rates, found[n, :, :, column].mean(axis=1).tolist(), _sd(found[n, :, :, column]))
            for n, name in enumerate(_NAMES.values())
        ]
        panels.append(Panel(title, "requests/s", "s", series))
    return Figure("TRAIL: latency where 256 requests run at once", panels)


def _sd(values: Float) -> list[float]:
    return [float(sd) for sd in values.std(axis=1, ddof=1 if values.shape[1] > 1 else 0)]
