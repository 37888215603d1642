"""TRAIL: latency and TTFT against the rate where memory is tight, by how long a request may be preempted."""

import numpy as np
from numpy.typing import NDArray

from simulator.core import Streams
from simulator.core.quantity import Rate
from simulator.experiment.reproductions.tools.lengths import LognormalLengths
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import arrivals, workload
from simulator.experiment.reproductions.tools.world import World

Float = NDArray[np.float64]
_NAMES = {"fcfs": "FCFS", "sjf": "SJF", "trail": "TRAIL, C = 0.8", "trail_c_1": "TRAIL, C = 1"}


class TrailSetup(Setup):
    """What ``trail.yaml`` has beside what every reproduction has."""

    rates: list[Rate]
    lengths: LognormalLengths


@reproduction("trail", TrailSetup)
def reproduce(setup: TrailSetup, runner: Runner) -> Outcome:
    """Serve the same requests under every policy at every rate."""
    per_rate = [round(setup.requests * rate / setup.rates[-1]) for rate in setup.rates]
    tasks = [
        (setup.world(name), setup.lengths, rate, requests, seed)
        for name in _NAMES
        for rate, requests in zip(setup.rates, per_rate, strict=True)
        for seed in setup.seeds
    ]
    found = np.array(runner.map(measure, tasks)).reshape(len(_NAMES), len(setup.rates), len(setup.seeds), 4)
    fcfs, sjf, trail, trail_c_1 = found
    top = -1  # the highest rate
    together = trail_c_1.sum(axis=0) / trail.sum(axis=0)
    rows = {
        "latency": fcfs[top, :, 0] / trail[top, :, 0],
        "ttft": fcfs[top, :, 1] / trail[top, :, 1],
        "every_load": (fcfs[:, :, 0] / trail[:, :, 0]).min(axis=0),
        "c_latency": together[:, 0],
        "c_preemptions": together[:, 3],
        "sjf_latency": sjf[top, :, 0] / trail[top, :, 0],
        "p99_latency": fcfs[top, :, 2] / trail[top, :, 2],
    }
    by_rate = (fcfs[:, :, 0].mean(axis=1) / trail[:, :, 0].mean(axis=1)).tolist()
    gains = ", ".join(f"{gain:.2f} at {rate:g}/s" for gain, rate in zip(by_rate, setup.rates, strict=True))
    notes = [
        setup.lengths.describe(),
        f"mean latency of FCFS over TRAIL's (C = 0.8): {gains}. A request evicted for a shorter one is computed again: "
        "where hardly anybody waits, that costs more than it saves; SJF evicts nobody for a newcomer",
        f"requests by rate: {', '.join(f'{n} at {rate:g}/s' for n, rate in zip(per_rate, setup.rates, strict=True))}",
    ]
    return Outcome({key: Row(values.tolist()) for key, values in rows.items()}, _figure(setup, found), notes)


def measure(
    world: World, lengths: LognormalLengths, rate: float, requests: int, seed: int
) -> tuple[float, float, float, int]:
    """Return mean latency, mean TTFT and P99 latency in seconds, and how often requests were preempted."""
    streams = Streams(seed)
    drawn = lengths.draw(streams.get("lengths"), requests)
    served = world.serve(workload(arrivals(streams.get("arrivals"), requests, rate), drawn), seed)
    latency = served.e2e_s
    return float(latency.mean()), float(served.ttft_s.mean()), float(np.percentile(latency, 99)), served.preemptions


def _figure(setup: TrailSetup, found: Float) -> Figure:
    panels = []
    for column, title in enumerate(("mean latency", "mean TTFT", "P99 latency")):
        series = [
            Series(name, setup.rates, found[n, :, :, column].mean(axis=1).tolist(), _sd(found[n, :, :, column]))
            for n, name in enumerate(_NAMES.values())
        ]
        panels.append(Panel(title, "requests/s, for 60 s", "s", series))
    return Figure("TRAIL: latency where memory is tight", panels)


def _sd(values: Float) -> list[float]:
    return [float(sd) for sd in values.std(axis=1, ddof=1 if values.shape[1] > 1 else 0)]
