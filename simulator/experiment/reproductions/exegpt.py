"""ExeGPT: throughput of searched schedules under latency bounds, over FasterTransformer's."""

from dataclasses import replace
from math import inf
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from simulator.cluster.cluster import Server
from simulator.cluster.disaggregated import Disaggregated
from simulator.cluster.handover import Handover, KVShape
from simulator.cluster.registry import ROUTERS
from simulator.cluster.topology import Place, Topology
from simulator.core import PS_PER_S, Streams
from simulator.core.quantity import Bandwidth
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.experiment.exegpt import Estimate, Group, LengthStatistics, Schedule, request_level, search
from simulator.experiment.named import Named
from simulator.experiment.reproductions.tools.lengths import Drawn
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import workload
from simulator.experiment.reproductions.tools.world import Served, serve
from simulator.scheduling.registry import SCHEDULERS
from simulator.workload.section import Count, Section
from simulator.workload.table import ClosedLoop

_Positive = Annotated[float, Field(gt=0)]
_BLOCK = 16
_NO_BOUND = 1e6  # s


class Task(Section):
    """Mean lengths."""

    prompt: Count
    output: Count


class Instance(Section):
    """A way to use GPUs: how many an instance has, its cost and its KV memory."""

    gpus: Count
    cost: str
    kv_tokens: Count


class KV(Section):
    """The KV of a token, and the link it travels from encoding to decoding GPUs."""

    token_bytes: Count
    layers: Count
    link: Bandwidth


class ExeGPTSetup(Setup):
    """What ``exegpt.yaml`` has beside what every reproduction has."""

    cv: _Positive
    longest: _Positive
    earlier: Count
    tasks: dict[str, Task]
    bounds: list[_Positive]
    gpus: Count
    groups: list[Instance]
    kv: KV

    def instances(self) -> list[Group]:
        """Return the ways to use GPUs."""
        return [Group(each.gpus, self.costs[each.cost].cost_model(), each.kv_tokens) for each in self.groups]

    def draw(self, task: Task, rng: np.random.Generator, requests: int) -> Drawn:
        """Return lengths of requests."""
        sigma = np.sqrt(np.log(1 + self.cv**2))

        def lengths(mean: int) -> np.ndarray:
            drawn = np.exp(rng.normal(np.log(mean) - sigma**2 / 2, sigma, requests))
            return np.clip(np.rint(drawn), 1, round(self.longest * mean)).astype(np.int64)

        return Drawn(lengths(task.prompt), lengths(task.output))


class Batches(NamedTuple):
    """FasterTransformer's schedule: batches of whole requests on each of some instances."""

    group: Group
    instances: int
    batch: int
    expected: Estimate


class Scenario(NamedTuple):
    """Requests/s of ExeGPT and of FasterTransformer (at its best, and over all GPUs), and how the former came about.

    ``latency``: P99 over the bound, 0 without one. ``expected``: what the search had foreseen.
    """

    ours: float
    theirs: float
    over_all: float
    latency: float
    expected: float
    apart: bool
    bound: float


@reproduction("exegpt", ExeGPTSetup)
def reproduce(setup: ExeGPTSetup, runner: Runner) -> Outcome:
    """Serve all tasks under all bounds."""
    scenarios = [(name, bound) for name in setup.tasks for bound in [*setup.bounds, None]]
    tasks = [(setup, *scenario, seed) for scenario in scenarios for seed in setup.seeds]
    shape = (len(scenarios), len(setup.seeds), len(Scenario._fields))
    found = np.array(runner.map(serve_scenario, tasks), float).reshape(shape)
    ours, theirs, over_all, latency, expected, apart, _ = np.moveaxis(found, 2, 0)
    gains = ours / theirs
    rows = {
        "mean": Row(gains.mean(axis=0).tolist()),
        "mean_four": Row((ours / over_all).mean(axis=0).tolist()),
        "most": Row(gains.max(axis=0).tolist()),
        "least": Row(gains.min(axis=0).tolist()),
        "kept": Row(latency.max(axis=0).tolist()),
        "estimate": Row((ours / expected).mean(axis=0).tolist()),
        "apart": Row((100 * apart.mean(axis=0)).tolist()),
    }
    notes = [
        "the gain is that of requests leaving and entering at every iteration, and of memory for what is there and not "
        "for the longest output: it grows with the spread of outputs, which is ours"
    ]
    return Outcome(rows, _figure(setup, found), notes)


def serve_scenario(setup: ExeGPTSetup, name: str, share: float | None, seed: int) -> Scenario:
    """Find and serve both systems' schedules for a task and a bound; None: no bound."""
    task, streams, groups = setup.tasks[name], Streams(seed), setup.instances()
    earlier = LengthStatistics.of(*setup.draw(task, streams.get("earlier"), setup.earlier))
    largest = groups[-1]
    bound = inf
    if share is not None:
        most = largest.kv_tokens // (earlier.prompt_long + earlier.longest)
        bound = request_level(largest, setup.gpus // largest.gpus, earlier, max(int(share * most), 1)).latency
    schedule = search(groups, setup.gpus, earlier, bound)
    batches = [whole_requests([group], setup.gpus, earlier, bound) for group in groups]
    best = max(batches, key=lambda each: each.expected.throughput)
    drawn = setup.draw(task, streams.get("lengths"), setup.requests)
    assert schedule is not None, "what FasterTransformer keeps can be kept"
    ours = _serve_schedule(setup, schedule, drawn)
    theirs = over_all = throughput(_serve_batches(setup, best, drawn))
    if best is not batches[-1]:
        over_all = throughput(_serve_batches(setup, batches[-1], drawn))
    late = 0.0 if share is None else float(np.percentile(ours.e2e_s - ours.waiting_s, 99)) / bound
    foreseen = schedule.expected.throughput
    return Scenario(throughput(ours), theirs, over_all, late, foreseen, schedule.encoders > 0, min(bound, _NO_BOUND))


def whole_requests(groups: list[Group], gpus: int, lengths: LengthStatistics, bound: float) -> Batches:
    """Return the largest batches, of whole requests, that keep a bound, with the instances that serve most with them.

    Where none does, batches of one.
    """
    found = []
    for group in groups:
        count, low, high = gpus // group.gpus, 1, group.kv_tokens // (lengths.prompt_long + lengths.longest)
        while low < high:
            middle = (low + high + 1) // 2
            in_time = request_level(group, count, lengths, middle).latency <= bound
            low, high = (middle, high) if in_time else (low, middle - 1)
        expected = request_level(group, count, lengths, low)
        late = expected.latency > bound
        found.append(Batches(group, count, low, Estimate(0.0, inf) if late else expected))
    return max(found, key=lambda each: each.expected.throughput)


def throughput(served: Served) -> float:
    """Return requests a second while the middle three fifths of them end; of the whole run if they end all at once."""
    ends = np.sort(served.table.finished)
    low, high = len(ends) // 5, len(ends) * 4 // 5
    # Requests that are answered together count from the answer before.
    low, high = (int(np.searchsorted(ends, ends[at], side="right")) for at in (low, high))
    if high == low:
        return served.throughput
    return (high - low) / float(ends[high - 1] - ends[low - 1]) * PS_PER_S


def _serve_schedule(setup: ExeGPTSetup, schedule: Schedule, drawn: Drawn) -> Served:
    group, encoders, decoders = schedule.group, schedule.encoders, schedule.instances - schedule.encoders
    if not encoders:
        policy = Named(
            name="exegpt",
            params={
                "encode_batch": schedule.encode_batch,
                "decode_iterations": schedule.iterations,
                "max_num_seqs": schedule.batch,
            },
        )
        servers = [_server(group, policy) for _ in range(decoders)]
        return _serve(servers, None, drawn, decoders * schedule.batch)
    sizes = [schedule.encode_batch] * encoders + [schedule.batch] * decoders
    servers = [
        _server(group, Named(name="vllm", params={"max_num_seqs": size, "max_num_batched_tokens": 10**6}))
        for size in sizes
    ]
    topology = Topology([Place(group.gpus, group.gpus * setup.kv.link, None)] * len(sizes))
    front = Disaggregated(
        range(encoders),
        range(encoders, len(sizes)),
        ROUTERS.make("least_outstanding", {}),
        ROUTERS.make("least_outstanding", {}),
        Handover(topology, KVShape(setup.kv.token_bytes, setup.kv.layers)),
    )
    return _serve(servers, front, drawn, sum(sizes))


def _serve_batches(setup: ExeGPTSetup, batches: Batches, drawn: Drawn) -> Served:
    longest = int((drawn.prompt + drawn.output).max())
    policy = Named(name="static", params={"max_num_seqs": batches.batch, "prompts": "padded", "max_len": longest})
    servers = [_server(batches.group, policy) for _ in range(batches.instances)]
    return _serve(servers, None, drawn, batches.instances * batches.batch)


def _server(group: Group, policy: Named) -> Server:
    kv = CountingPool(group.kv_tokens // _BLOCK, _BLOCK, reuse=False)
    core = EngineCore(kv, SCHEDULERS.make(policy.name, policy.params), Ledger(), group.kv_tokens)
    return Server(core, group.cost)


def _serve(servers: list[Server], front: Disaggregated | None, drawn: Drawn, clients: int) -> Served:
    given = workload(np.zeros(len(drawn.prompt)), drawn)
    closed = replace(given, closed_loop=ClosedLoop(min(clients, len(given)), 0))
    return serve(servers, front or ROUTERS.make("least_outstanding", {}), closed)


def _figure(setup: ExeGPTSetup, found: np.ndarray) -> Figure:
    gains = found[..., 0] / found[..., 1]
    names, bounds = list(setup.tasks), [*setup.bounds, None]
    series = []
    for at, bound in enumerate(bounds):
        values = gains[at :: len(bounds)]
        label = "no bound" if bound is None else f"time of {bound:.0%} batch"
        series.append(Series(label, names, values.mean(axis=1).tolist(), values.std(axis=1).tolist()))
    panels = [Panel("Gain over FasterTransformer", "", "throughput ratio", series, limit=1.0)]
    first = names.index("translation") * len(bounds) if "translation" in names else 0
    rows = found[first : first + len(setup.bounds)].mean(axis=1)
    lines = [
        Series(label, rows[:, 6].tolist(), rows[:, at].tolist())
        for label, at in (("ExeGPT", 0), ("FasterTransformer", 1), ("FasterTransformer, 4 GPUs an instance", 2))
    ]
    panels.append(Panel("Translation", "latency bound (s)", "requests/s", lines))
    return Figure("ExeGPT: OPT-13B on four A100 under latency bounds", panels)
