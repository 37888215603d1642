"""Infinite-LLM: throughput of instances that lend each other KV memory, as a share of requests gets long."""

from typing import Annotated

import numpy as np
from pydantic import Field

from simulator.cluster.infinite_llm import InfiniteLLM
from simulator.cluster.registry import ROUTERS
from simulator.cluster.topology import Place, Topology
from simulator.core import InputError, Streams, to_ps
from simulator.core.quantity import Bandwidth, Duration, DurationOrZero, Rate
from simulator.experiment.reproductions.tools.lengths import Drawn
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.seeds import Spread
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import arrivals, workload
from simulator.experiment.reproductions.tools.world import World, serve
from simulator.workload.section import Count, Section
from simulator.workload.table import Workload

_Range = Annotated[list[Count], Field(min_length=2, max_length=2)]


class Tokens(Section):
    """Prompt and output lengths, each between two bounds."""

    prompt: _Range
    output: _Range


class Requests(Section):
    """Short requests, and long ones among them."""

    short: Tokens
    long: Tokens

    def draw(self, requests: int, share: float, rate: float, seed: int) -> Workload:
        """Return Poisson arrivals, a share of them (rounded to whole requests) long."""
        streams = Streams(seed)
        rng = streams.get("lengths")
        long = np.zeros(requests, bool)
        long[rng.permutation(requests)[: round(share * requests)]] = True

        def lengths(short: list[int], other: list[int]) -> np.ndarray:
            each = [rng.integers(low, high, requests, endpoint=True) for low, high in (short, other)]
            return np.where(long, each[1], each[0])

        prompt = lengths(self.short.prompt, self.long.prompt)
        output = lengths(self.short.output, self.long.output)
        return workload(arrivals(streams.get("arrivals"), requests, rate), Drawn(prompt, output))


class Lending(Section):
    """How memory is lent: the look's period, the links, and the time of a ``message``, two of which go a layer."""

    token_bytes: Count
    link: Bandwidth
    layers: Count
    message: DurationOrZero
    period: Duration

    def front(self, world: World) -> InfiniteLLM:
        """Return the front of a world's instances."""
        spec = world.spec
        return InfiniteLLM(
            ROUTERS.make(spec.router.name, spec.router.params),
            Topology([Place(1, self.link, None)] * spec.instances),
            self.token_bytes,
            period=to_ps(self.period),
            message_ps=to_ps(2 * self.layers * self.message),
        )


class InfiniteLLMSetup(Setup):
    """What ``infinite_llm.yaml`` has beside what every reproduction has: the rates and the lengths."""

    rate: Rate
    overload: Rate
    shares: list[float] = Field(min_length=4, max_length=4)
    short: Tokens
    long: Tokens
    lending: Lending


@reproduction("infinite_llm", InfiniteLLMSetup)
def reproduce(setup: InfiniteLLMSetup, runner: Runner) -> Outcome:
    """Serve the mixtures on instances that lend, that don't, and on a single one; then look for the longest request."""
    multi, single = setup.world("multi"), setup.world("single")
    requests = Requests(short=setup.short, long=setup.long)
    without = setup.lending.model_copy(update={"message": 0.0})
    systems = [(multi, setup.lending), (multi, without), (multi, None), (single, None)]
    tasks = [
        (*system, requests, setup.requests, share, setup.rate, seed)
        for system in systems
        for share in setup.shares
        for seed in setup.seeds
    ]
    # Shape (system, share, seed, throughput or mean e2e or preemptions).
    found = np.array(runner.map(serve_mixture, tasks)).reshape(len(systems), len(setup.shares), len(setup.seeds), 3)
    gains = found[:2, ..., 0] / found[2, ..., 0]
    rows = {name: Row(*gains[:, at].tolist()) for at, name in enumerate(("none", "one", "three", "ten"))}
    rows["latency"] = Row(*(found[2, 2, :, 1] / found[:2, 2, :, 1]).tolist())
    rows["single"] = Row(*(found[:2, 2, :, 0] / found[3, 2, :, 0]).tolist())
    before = max(found[2, 2, :, 2].sum(), 1)
    rows["preempted"] = Row(*[[100 * (1 - float(found[at, 2, :, 2].sum()) / before)] for at in range(2)])
    short = [(world, None, requests, setup.requests, 0.0, setup.overload, seed) for world in (multi, single)
             for seed in setup.seeds]  # fmt: skip
    alone = np.array(runner.map(serve_mixture, short)).reshape(2, len(setup.seeds), 3)[..., 0]
    rows["static"] = Row((alone[0] / alone[1]).tolist())
    (longest,) = runner.map(longest_request, [(multi, setup.lending)])
    rows["context"] = Row([longest])
    notes = [
        "an iteration's attention takes what the longest part of it does, here or at those that lend, who are slower "
        "by what they read for others; prompts are computed where the request is",
        "on this hardware vLLM-single has the better of both where requests are long: its memory is one, and its "
        "prompts are computed by all four GPUs",
    ]
    return Outcome(rows, _figure(setup, found), notes)


def serve_mixture(
    world: World, lending: Lending | None, mixture: Requests, requests: int, share: float, rate: float, seed: int
) -> tuple[float, float, int]:
    """Return requests a second, mean end-to-end latency in s, and preemptions."""
    given = mixture.draw(requests, share, rate, seed)
    if lending is None:
        served = world.serve(given, seed)
    else:
        served = serve([world.server() for _ in range(world.spec.instances)], lending.front(world), given, seed)
    return served.throughput, float(served.e2e_s.mean()), served.preemptions


def longest_request(world: World, lending: Lending) -> float:
    """Return the longest prompt that instances serve together, over the KV tokens of one; found to 1 %."""
    own = world.spec.kv_tokens or 0

    def fits(tokens: int) -> bool:
        given = workload(np.zeros(1), Drawn(np.array([tokens]), np.array([10])))
        try:
            serve([world.server() for _ in range(world.spec.instances)], lending.front(world), given)
        except InputError:
            return False
        return True

    low, high = own // 2, own * world.spec.instances
    while high - low > own // 100:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low / own


def _figure(setup: InfiniteLLMSetup, found: np.ndarray) -> Figure:
    names = {"Infinite-LLM": 0, "vLLM-multi": 2, "vLLM-single": 3}
    percent = [f"{100 * share:g}" for share in setup.shares]
    panels = []
    for title, unit, column in (("Throughput", "requests/s", 0), ("Mean end-to-end latency", "s", 1)):
        series = []
        for name, at in names.items():
            spreads = [Spread.of(values.tolist()) for values in found[at, ..., column]]
            series.append(Series(name, percent, [each.mean for each in spreads], [each.sd for each in spreads]))
        panels.append(Panel(title, "% of requests with 16,000 to 40,000 tokens", unit, series, log_y=column == 1))
    return Figure("Infinite-LLM: four A100 with OPT-13B, short requests and long ones", panels)
