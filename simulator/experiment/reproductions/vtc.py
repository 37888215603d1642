"""Virtual Token Counter: the gap in service between two clients that overload an engine, with and without it."""

from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.core import PS_PER_S, Streams
from simulator.core.quantity import Rate
from simulator.experiment.reproductions.tools.lengths import Drawn
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import arrivals, workload
from simulator.experiment.reproductions.tools.world import Served, World
from simulator.workload.section import Count

Float = NDArray[np.float64]
_PROMPT_PRICE, _OUTPUT_PRICE = 1.0, 2.0  # of a token, as the paper has them
_STEP_S = 0.5
_SHOWN = 10  # steps between two points of the figure


class VTCSetup(Setup):
    """What ``vtc.yaml`` has beside what every reproduction has: two clients' rates, and tokens of prompt and output."""

    rates: Annotated[list[Rate], Field(min_length=2, max_length=2)]
    tokens: Count


class Service(NamedTuple):
    """Weighted tokens that either client was served by each time (s), and requests completed per second."""

    times: Float
    first: Float
    second: Float
    throughput: float

    @property
    def gap(self) -> Float:
        """How much more the second was served."""
        return np.asarray(np.abs(self.second - self.first), np.float64)


@reproduction("vtc", VTCSetup)
def reproduce(setup: VTCSetup, runner: Runner) -> Outcome:
    """Serve both clients by every policy, evenly spaced, and by two of them with Poisson arrivals."""
    names = list(setup.worlds)
    # Seed None: evenly spaced, where chance has no part.
    cases: list[tuple[str, int | None]] = [(name, None) for name in names]
    cases += [(name, seed) for name in ("fcfs", "vtc") for seed in setup.seeds]
    tasks = [
        (setup.world(name, calibrated=calibrated), tuple(setup.rates), setup.tokens, setup.requests, seed)
        for calibrated in (True, False)
        for name, seed in cases
    ]
    found = [Service(*each) for each in runner.map(serve, tasks)]
    rows = {}
    both = [dict(zip(cases, found[begin : begin + len(cases)], strict=True)) for begin in (0, len(cases))]
    measured = [_figures(each, setup) for each in both]
    for key, ours in measured[0].items():
        rows[key] = Row(ours, measured[1][key])
    notes = [
        "evenly spaced arrivals leave nothing to chance: seeds matter to the rows with Poisson arrivals only",
        "the gap of first come first served is what the engine's throughput makes it: 157,458 means 1.71 requests/s",
    ]
    return Outcome(rows, _figure(setup, both[0]), notes)


def serve(
    world: World, rates: tuple[float, float], tokens: int, requests: int, seed: int | None
) -> tuple[Float, Float, Float, float]:
    """Return the fields of ``Service`` for so many requests of both clients together."""
    counts = [round(requests * rate / sum(rates)) for rate in rates]
    times, clients = [], []
    for client, (rate, count) in enumerate(zip(rates, counts, strict=True)):
        rng = Streams(seed or 0).get(f"arrivals.{client}")
        times.append(arrivals(rng, count, rate, 0.0 if seed is None else 1.0))
        clients.append(np.full(count, client))
    arrived, sender = np.concatenate(times), np.concatenate(clients)
    order = np.argsort(arrived, kind="stable")
    lengths = Drawn(*(np.full(len(order), tokens) for _ in range(2)))
    served = world.serve(workload(arrived[order], lengths, sender[order], ("slow", "greedy")))
    end = requests / sum(rates)
    when = np.arange(0.0, end + _STEP_S / 2, _STEP_S)
    first, second = (_service(served, sender[order] == index, when) for index in range(2))
    completed = float(np.mean(served.table.finished <= end * PS_PER_S)) * len(order)
    return when, first, second, completed / end


def _service(served: Served, mine: NDArray[np.bool_], when: Float) -> Float:
    """Return the weighted tokens that some requests were served by each time, an output's spread over its decoding."""
    table = served.table
    first, last = (np.asarray(column[mine] / PS_PER_S) for column in (table.first_token, table.finished))
    prompts = _PROMPT_PRICE * np.array([r.prompt_tokens for r in served.requests], float)[mine]
    outputs = _OUTPUT_PRICE * table.output_tokens[mine].astype(float)
    share = np.clip((when[:, None] - first) / np.maximum(last - first, 1e-12), 0.0, 1.0)
    return np.asarray((when[:, None] >= first) @ prompts + share @ outputs, np.float64)


def _figures(found: dict[tuple[str, int | None], Service], setup: VTCSetup) -> dict[str, list[float]]:
    """Return what the targets ask for."""

    def law(service: Service) -> float:
        return float(service.gap.max() / (service.throughput * service.times[-1] * setup.tokens))

    def largest(name: str) -> float:
        return float(found[name, None].gap.max())

    fcfs, vtc, weighted = (found[name, None] for name in ("fcfs", "vtc", "weighted"))
    half = fcfs.gap[: len(fcfs.times) // 2 + 1].max()
    return {
        "fcfs_gap": [largest("fcfs")],
        "law": [law(fcfs)],
        "growth": [float(fcfs.gap.max() / half)],
        "vtc_gap": [largest("vtc")],
        "vtc_near": [largest("vtc")],
        "predicted_gap": [largest("predicted")],
        "known_gap": [largest("known")],
        "throughput": [vtc.throughput / fcfs.throughput],
        "weighted": [float(weighted.second[-1] / weighted.first[-1])],
        "rate": [fcfs.throughput],
        "poisson_law": [law(found["fcfs", seed]) for seed in setup.seeds],
        "poisson_gap": [float(found["vtc", seed].gap.max()) for seed in setup.seeds],
    }


def _figure(setup: VTCSetup, found: dict[tuple[str, int | None], Service]) -> Figure:
    gaps, services = [], []
    for name, label in (("fcfs", "first come first served"), ("vtc", "VTC"), ("known", "VTC-oracle")):
        service = found[name, None]
        gaps.append(Series(label, service.times[::_SHOWN].tolist(), service.gap[::_SHOWN].tolist()))
    end = float(found["fcfs", None].times[-1])
    if (published := setup.targets["fcfs_gap"].paper) is not None:
        gaps.append(Series("first come first served", [end], [published], paper=True))
    for name, label in (("fcfs", "first come first served"), ("vtc", "VTC")):
        service = found[name, None]
        for mine, who in ((service.first, "1.5/s"), (service.second, "3/s")):
            services.append(Series(f"{label}, {who}", service.times[::_SHOWN].tolist(), mine[::_SHOWN].tolist()))
    panels = [
        Panel("Gap in service", "seconds", "weighted tokens", gaps, limit=40_000),
        Panel("Service", "seconds", "weighted tokens", services),
    ]
    return Figure("VTC, two overloaded clients (the line is the theorem's bound)", panels)
