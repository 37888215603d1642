"""LightLLM's Past-Future admission against reserving the longest output and against filling memory."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.core import Streams
from simulator.core.quantity import Duration
from simulator.experiment.reproductions.tools.gaps import longest_gap_s
from simulator.experiment.reproductions.tools.lengths import Lengths, UniformLengths
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.retries import Limits, serve_until_good
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.seeds import Spread
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import workload
from simulator.experiment.reproductions.tools.world import World
from simulator.workload.section import Count, Section
from simulator.workload.table import ClosedLoop

Float = NDArray[np.float64]
_NAMES = ("conservative", "aggressive", "past_future")
_BESIDE = ("reserve", "conservative_long", "past_future_long")  # with the most clients alone


class Before(Section):
    """What the server served before: so many requests, of so many clients."""

    requests: Count
    clients: Count
    lengths: Lengths


class Distributions(Section):
    """The other lengths that the server is shown, by name, so many requests of each, with the most clients alone."""

    requests: Count
    lengths: dict[str, UniformLengths] = Field(min_length=1)


class LightLLMSetup(Setup):
    """What ``lightllm.yaml`` has beside what every reproduction has.

    ``gap``: the limit between any two tokens. ``drop``: how long the server lets a request wait; ``abort``: after which
    gap it gives one up, under the admissions that are ``aborting``.
    """

    clients: list[Count] = Field(min_length=1)
    ttft: Duration
    gap: Duration
    drop: Duration
    abort: Duration
    aborting: list[str]
    lengths: Lengths
    before: Before
    distributions: Distributions

    def limits(self, name: str) -> Limits:
        """Return what an admission's requests are held to."""
        return Limits(self.ttft, self.gap, self.drop, self.abort if name in self.aborting else None)


@reproduction("lightllm", LightLLMSetup)
def reproduce(setup: LightLLMSetup, runner: Runner) -> Outcome:
    """Let every number of clients send to each way of admission, and the most of them send each request just once."""
    again = [
        (setup.world(name), setup.limits(name), setup.before, clients, setup.requests, setup.lengths, seed, runner.data)
        for name in (*_NAMES, *_BESIDE)
        for clients in (setup.clients if name in _NAMES else setup.clients[-1:])
        for seed in setup.seeds
    ]
    single = [
        (setup.world(name), setup.clients[-1], setup.requests, setup.lengths, setup.ttft, setup.gap, seed, runner.data)
        for name in _NAMES
        for seed in setup.seeds
    ]
    # Shapes: (admission, clients, seed, figure) and, with the most clients alone, (admission, seed, figure).
    found, beside = np.split(np.array(runner.map(until_good, again)), [-len(_BESIDE) * len(setup.seeds)])
    others = _of_distributions(setup, runner)
    found = found.reshape(len(_NAMES), len(setup.clients), len(setup.seeds), 3)
    reserve, conservative_long, past_future_long = beside[:, 0].reshape(len(_BESIDE), len(setup.seeds))
    once = np.array(runner.map(sent_once, single)).reshape(3, len(setup.seeds), 2)
    good, evicted, dropped = (found[..., column] for column in range(3))
    over = good[2] / good[:2]
    rows = {
        "gain": over[:, -1].max(axis=0),
        "order": over.min(axis=(0, 1)),
        "order_distributions": others.min(axis=(0, 1)),
        "most_distributions": others.max(axis=(0, 1)),
        "conservative": over[0, -1],
        "aggressive": over[1, -1],
        "reserve": good[2, -1] / reserve,
        "long": past_future_long / conservative_long,
        "evicted": evicted[2, -1],
        "evicted_aggressive": evicted[1, -1],
        "dropped": dropped[2, -1],
        "once": once[2, :, 0] / np.maximum(once[:2, :, 0].max(axis=0), 1e-9),
        "once_smooth": once[2, :, 1] / np.maximum(once[:2, :, 1].max(axis=0), 1e-9),
        "once_aggressive": once[2, :, 1] / np.maximum(once[1, :, 1], 1e-9),
    }
    by_clients = ", ".join(
        f"{of[0]:.3f} and {of[1]:.3f} with {clients}"
        for clients, of in zip(setup.clients, over.mean(axis=2).T, strict=True)
    )
    by_distribution = ", ".join(
        f"{of[0]:.3f} and {of[1]:.3f} under {name}"
        for name, of in zip(setup.distributions.lengths, others.mean(axis=2).T, strict=True)
    )
    notes = [
        setup.lengths.describe(runner.data) + ": synthesised to the published means",
        f"Past-Future's goodput over conservative and over aggressive admission: {by_clients} clients. With memory for "
        "all, nothing but the end of the list tells them apart: who was dropped comes last",
        f"the same with {setup.clients[-1]} clients and the artifact's other lengths: {by_distribution}",
        "the abstract says up to 2 to 3 times other schedulers' goodput, so the gain is that over the worse of them; "
        "over the better one (conservative admission) it stays below",
        "beyond about 55 clients memory cannot hold everybody. The artifact's server then drops who waits too long, "
        "and its client sends that request again later; without this (rows 'sent once') the queue breaks the limit on "
        "first tokens for nearly all whom Past-Future lets in, and nothing is left of its gain",
        "over conservative admission the gain is what twice the batch brings. That hinges on the iteration times (by "
        "the fit, most of one is reading KV, which grows with the batch; those of LightLLM's own kernels were not "
        "found) and on what conservative admission adds up: the artifact's server for it was not found, its analysis "
        "script adds up more than LightLLM's own test",
    ]
    return Outcome({key: Row(values.tolist()) for key, values in rows.items()}, _figure(setup, good, evicted), notes)


def _of_distributions(setup: LightLLMSetup, runner: Runner) -> Float:
    """Return goodput over each other admission's; shape (admission, distribution, seed)."""
    requests = min(setup.requests, setup.distributions.requests)
    jobs = [
        (setup.world(name), setup.limits(name), setup.before, setup.clients[-1], requests, lengths, seed, runner.data)
        for name in _NAMES
        for lengths in setup.distributions.lengths.values()
        for seed in setup.seeds
    ]
    shape = len(_NAMES), len(setup.distributions.lengths), len(setup.seeds)
    good: Float = np.array(runner.map(until_good, jobs))[:, 0].reshape(shape)
    over: Float = good[2] / good[:2]
    return over


def until_good(
    world: World,
    limits: Limits,
    before: Before,
    clients: int,
    requests: int,
    lengths: Lengths,
    seed: int,
    data: str | None,
) -> tuple[float, float, float]:
    """Return output tokens/s until all were answered in time once, and evictions and dropped ones per answer."""
    streams = Streams(seed)
    drawn = lengths.draw(streams.get("lengths"), requests, data)
    earlier = before.lengths.draw(streams.get("before"), before.requests, data)
    kept = serve_until_good(world, drawn, clients, limits, before=earlier, before_clients=before.clients)
    return (
        sum(request.output_tokens for request in kept.good) / kept.duration_s,
        sum(request.preemptions for request in kept.sent) / requests,
        sum(request.admitted_at < 0 for request in kept.sent) / requests,
    )


def sent_once(
    world: World,
    clients: int,
    requests: int,
    lengths: Lengths,
    ttft: float,
    gap: float,
    seed: int,
    data: str | None,
) -> tuple[float, float]:
    """Return output tokens/s of requests within both limits, and of those within the one on gaps, all sent once."""
    drawn = lengths.draw(Streams(seed).get("lengths"), requests, data)
    served = world.serve(replace(workload(np.zeros(requests), drawn), closed_loop=ClosedLoop(clients)))
    outputs = served.table.output_tokens
    smooth = longest_gap_s(served) <= gap
    both = smooth & (served.ttft_s <= ttft)
    return float(outputs[both].sum()) / served.duration_s, float(outputs[smooth].sum()) / served.duration_s


def _figure(setup: LightLLMSetup, good: Float, evicted: Float) -> Figure:
    def series(values: Float) -> list[Series]:
        lines = []
        for name, of_name in zip(("conservative", "aggressive", "Past-Future"), values, strict=True):
            spreads = [Spread.of(each.tolist()) for each in of_name]
            lines.append(Series(name, setup.clients, [each.mean for each in spreads], [each.sd for each in spreads]))
        return lines

    panels = [
        Panel("Goodput", "clients", "output tokens/s", series(good)),
        Panel("Evictions", "clients", "evictions per answer", series(evicted)),
    ]
    return Figure("LightLLM, Figure 7 (Llama2-7B, ShareGPT-o1)", panels)
