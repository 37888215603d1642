"""LightLLM's Past-Future admission against reserving the longest output and against filling memory."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.core import Streams
from simulator.core.quantity import Duration
from simulator.experiment.reproductions.tools.gaps import longest_gap_s
from simulator.experiment.reproductions.tools.lengths import Lengths
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.seeds import Spread
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import workload
from simulator.experiment.reproductions.tools.world import World
from simulator.workload.section import Count
from simulator.workload.table import ClosedLoop

Float = NDArray[np.float64]
_NAMES = ("conservative", "aggressive", "past_future")
_BELOW = 40  # clients, where memory is scarce but not short for all


class LightLLMSetup(Setup):
    """What ``lightllm.yaml`` has beside what every reproduction has; ``gap``: the limit between any two tokens."""

    clients: list[Count] = Field(min_length=1)
    ttft: Duration
    gap: Duration
    lengths: Lengths


@reproduction("lightllm", LightLLMSetup)
def reproduce(setup: LightLLMSetup, runner: Runner) -> Outcome:
    """Let every number of clients send to each way of admission."""
    tasks = [
        (setup.world(name), clients, setup.requests, setup.lengths, setup.ttft, setup.gap, seed, runner.data)
        for name in _NAMES
        for clients in setup.clients
        for seed in setup.seeds
    ]
    # Shape (admission, clients, seed, figure).
    found = np.array(runner.map(figures, tasks)).reshape(3, len(setup.clients), len(setup.seeds), 3)
    good, smooth, evicted = (found[..., column] for column in range(3))
    gain = good[2] / np.maximum(good[:2].max(axis=0), 1e-9)
    at = setup.clients.index(_BELOW)
    rows = {
        "gain": gain[-1],
        "order": gain.min(axis=0),
        "conservative": good[2, at] / np.maximum(good[0, at], 1e-9),
        "aggressive": good[2, at] / np.maximum(good[1, at], 1e-9),
        "smooth": smooth[2, -1] / np.maximum(smooth[:2, -1].max(axis=0), 1e-9),
        "smooth_order": (smooth[2] / np.maximum(smooth[:2].max(axis=0), 1e-9)).min(axis=0),
        "smooth_aggressive": smooth[2, -1] / np.maximum(smooth[1, -1], 1e-9),
        "evicted": evicted[2, -1],
        "evicted_aggressive": evicted[1, -1],
    }
    notes = [
        setup.lengths.describe(runner.data) + ": synthesised to published means",
        "beyond about 55 clients memory cannot hold everybody, whatever the admission; as clients send again at once, "
        "the queue then breaks the limit on first tokens for nearly all, and Past-Future, which lets nobody in too "
        "early, pays for it; without that limit its gain over aggressive admission is the published one, not that over "
        "conservative admission",
        "the history of outputs begins with the longest possible one, so Past-Future admits too few at first",
    ]
    return Outcome({key: Row(values.tolist()) for key, values in rows.items()}, _figure(setup, good, smooth), notes)


def figures(
    world: World,
    clients: int,
    requests: int,
    lengths: Lengths,
    ttft: float,
    gap: float,
    seed: int,
    data: str | None,
) -> tuple[float, float, float]:
    """Return output tokens/s of requests within both limits, of those within the one on gaps, evictions per request."""
    drawn = lengths.draw(Streams(seed).get("lengths"), requests, data)
    served = world.serve(replace(workload(np.zeros(requests), drawn), closed_loop=ClosedLoop(clients)))
    outputs = served.table.output_tokens
    smooth = longest_gap_s(served) <= gap
    both = smooth & (served.ttft_s <= ttft)
    return (
        float(outputs[both].sum()) / served.duration_s,
        float(outputs[smooth].sum()) / served.duration_s,
        served.preemptions / requests,
    )


def _figure(setup: LightLLMSetup, good: Float, smooth: Float) -> Figure:
    def series(values: Float) -> list[Series]:
        lines = []
        for name, of_name in zip(("conservative", "aggressive", "Past-Future"), values, strict=True):
            spreads = [Spread.of(each.tolist()) for each in of_name]
            lines.append(Series(name, setup.clients, [each.mean for each in spreads], [each.sd for each in spreads]))
        return lines

    panels = [
        Panel("Goodput", "clients", "output tokens/s", series(good)),
        Panel("Without gaps beyond the limit", "clients", "output tokens/s", series(smooth)),
    ]
    return Figure("LightLLM, Figure 7 (Llama2-7B, ShareGPT-o1)", panels)
