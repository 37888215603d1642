"""DeepSpeed-FastGen: requests per second that closed-loop clients get within their limits, against vLLM."""

from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.core import PS_PER_S, Streams
from simulator.engine.ledger import iteration_ends
from simulator.experiment.reproductions.tools.lengths import Drawn
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.seeds import Spread
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import workload
from simulator.experiment.reproductions.tools.world import Served, World
from simulator.workload.section import Count, Section
from simulator.workload.table import ClosedLoop

Float = NDArray[np.float64]
_SYSTEMS = ("fastgen", "vllm")
_HELD = 4  # tokens/s, the limit that the published figures are for


class Normal(Section):
    """Lengths around a mean, 1 to ``most`` tokens."""

    mean: Count
    most: Count

    def draw(self, rng: np.random.Generator, count: int, deviation: float) -> NDArray[np.int64]:
        """Return lengths with a standard deviation of a share of the mean."""
        return np.clip(rng.normal(self.mean, deviation * self.mean, count).astype(np.int64), 1, self.most)


class Long(Section):
    """The set-up of the token latencies."""

    clients: Count
    output: Normal


class FastGenSetup(Setup):
    """What ``fastgen.yaml`` has beside what every reproduction has.

    ``prompt_rate``: prompt tokens a second that a first token may take; ``token_rates``: output tokens a second that
    the moving average over ``span`` tokens has to reach.
    """

    clients: list[Count] = Field(min_length=1)
    prompt: Normal
    output: Normal
    deviation: Annotated[float, Field(gt=0)]
    prompt_rate: Count
    token_rates: list[Count]
    span: Count
    long: Long


@reproduction("fastgen", FastGenSetup)
def reproduce(setup: FastGenSetup, runner: Runner) -> Outcome:
    """Let every number of clients send to both engines, and count the requests within their limits."""
    worlds = [setup.world(name) for name in _SYSTEMS]
    limits = (setup.prompt_rate, tuple(setup.token_rates), setup.span)
    lengths = (setup.prompt, setup.output, setup.deviation)
    tasks = [
        (world, clients, setup.requests, *lengths, *limits, seed)
        for world in worlds
        for clients in setup.clients
        for seed in setup.seeds
    ]
    # Shape (system, clients, seed, throughput and the share within the limits at each rate).
    shape = (2, len(setup.clients), len(setup.seeds), 1 + len(setup.token_rates))
    found = np.array(runner.map(effective, tasks)).reshape(shape)
    rows = {}
    for column, rate in enumerate(setup.token_rates, 1):
        good = found[..., 0] * found[..., column]
        best = good.max(axis=1)
        rows[f"gain_{rate}"] = Row((best[0] / np.maximum(best[1], 1e-9)).tolist())
        if rate == _HELD:
            held = good
            at = good.argmax(axis=1)
            for system, name in enumerate(_SYSTEMS):
                share = np.take_along_axis(found[system, ..., column], at[system][None], axis=0)[0]
                rows[f"{name}_rate"] = Row(best[system].tolist())
                rows[f"{name}_misses"] = Row((100 * (1 - share)).tolist())
    rows["least"] = Row((held[0] / np.maximum(held[1], 1e-9)).min(axis=0).tolist())
    tails = runner.map(
        tail,
        [
            (world, setup.long.clients, setup.requests, setup.prompt, setup.long.output, setup.deviation, seed)
            for world in worlds
            for seed in setup.seeds
        ],
    )
    count = len(setup.seeds)
    rows["tail"] = rows["tail_order"] = Row(
        [vllm / ours for ours, vllm in zip(tails[:count], tails[count:], strict=True)]
    )
    notes = [
        "both policies at the same iteration times: whatever FastGen's kernels add to the published gain is left out",
        "lengths drawn from normal distributions, as the published benchmark does",
    ]
    return Outcome(rows, _figure(setup, found, held), notes)


def effective(
    world: World,
    clients: int,
    requests: int,
    prompt: Normal,
    output: Normal,
    deviation: float,
    prompt_rate: int,
    token_rates: tuple[int, ...],
    span: int,
    seed: int,
) -> tuple[float, ...]:
    """Return requests per second, and the share of them within the limits at each rate of tokens."""
    served = _serve(world, clients, requests, prompt, output, deviation, seed)
    prompts = np.array([request.prompt_tokens for request in served.requests])
    early = served.ttft_s <= prompts / prompt_rate
    slowest = _slowest_average(served, span)
    return served.throughput, *(float(np.mean(early & (slowest < 1 / rate))) for rate in token_rates)


def tail(
    world: World, clients: int, requests: int, prompt: Normal, output: Normal, deviation: float, seed: int
) -> float:
    """Return the 95th percentile of the time between tokens, in seconds."""
    return _serve(world, clients, requests, prompt, output, deviation, seed).gap_s(95)


def _serve(
    world: World, clients: int, requests: int, prompt: Normal, output: Normal, deviation: float, seed: int
) -> Served:
    rng = Streams(seed).get("lengths")
    drawn = Drawn(prompt.draw(rng, requests, deviation), output.draw(rng, requests, deviation))
    sent = replace(workload(np.zeros(requests), drawn), closed_loop=ClosedLoop(clients))
    return world.serve(sent)


def _slowest_average(served: Served, span: int) -> Float:
    """Return the largest moving average of each request's times between tokens, in seconds; 0 for single tokens.

    The average over a request's first n gaps has weights (1 - 2 / (span + 1)) to the power of their age.
    """
    (ledger,) = served.ledgers
    runs, place = ledger.runs(), {request.index: row for row, request in enumerate(served.requests)}
    decoding = np.repeat(runs[:, 4] > 0, runs[:, 3])
    times: list[list[Float]] = [[] for _ in served.requests]
    for index, first, last, _ in sorted(ledger.spans().tolist(), key=lambda each: (each[0], each[1])):
        numbers = np.arange(first, last + 1)
        # Iterations of prompts alone make no token, but for the one with which a span may begin.
        made = numbers[decoding[numbers] | (numbers == first)]
        times[place[index]].append(iteration_ends(runs, made) / PS_PER_S)
    keep, slowest = 1 - 2 / (span + 1), np.zeros(len(times))
    for row, parts in enumerate(times):
        total = weight = 0.0
        for gap in np.diff(np.concatenate(parts)).tolist():
            total, weight = keep * total + gap, keep * weight + 1
            slowest[row] = max(slowest[row], total / weight)
    return slowest


def _figure(setup: FastGenSetup, found: Float, held: Float) -> Figure:
    latency, goodput = [], []
    for system, name in enumerate(("DeepSpeed-FastGen", "vLLM")):
        spreads = [Spread.of(each.tolist()) for each in held[system]]
        goodput.append(Series(name, setup.clients, [each.mean for each in spreads], [each.sd for each in spreads]))
        rates = found[system, ..., 0].mean(axis=1)
        # Little's law: all clients wait all the time.
        latency.append(Series(name, rates.tolist(), (np.array(setup.clients) / rates).tolist()))
    panels = [
        Panel("Effective throughput, 4 tokens/s", "clients", "requests/s", goodput),
        Panel("Throughput and latency", "requests/s", "mean end-to-end latency (s)", latency),
    ]
    return Figure("DeepSpeed-FastGen, Figures 2 and 4 (Llama-2-70B on four A100)", panels)
