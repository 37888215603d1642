"""Llumnix: latency and preemptions with and without migration over rising load, downtime, and priorities."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.cluster.cluster import Cluster
from simulator.cluster.front import RouterFront
from simulator.cluster.llumnix import Llumnix
from simulator.cluster.migration import Copying, Migration
from simulator.cluster.registry import ROUTERS
from simulator.cluster.topology import Place, Topology
from simulator.cluster.virtual_usage import VirtualUsage
from simulator.core import PS_PER_MS, PS_PER_S, Streams, to_ps
from simulator.core.quantity import Bandwidth, Duration, DurationOrZero, Rate, Size
from simulator.engine.ledger import iteration_ends
from simulator.experiment.reproductions.tools.lengths import Drawn
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.setup import Seeds, Setup
from simulator.experiment.reproductions.tools.workloads import arrivals, workload
from simulator.experiment.reproductions.tools.world import Served, World, serve
from simulator.workload.section import Count, Section
from simulator.workload.table import Workload

Float = NDArray[np.float64]


class ZipfLengths(Section):
    """Ranks from 1 to twice the mean, each as likely as rank^-exponent, scaled to the mean, then cut at ``most``."""

    mean: Count
    exponent: float
    most: Count

    def draw(self, rng: np.random.Generator, requests: int) -> NDArray[np.int64]:
        """Return so many lengths in tokens."""
        ranks = np.arange(1, 2 * self.mean + 1)
        weights = ranks**-self.exponent
        drawn = rng.choice(ranks, requests, p=weights / weights.sum())
        lengths: NDArray[np.int64] = np.rint(drawn * (self.mean / drawn.mean())).astype(np.int64)
        return np.clip(lengths, 1, self.most)


class MigrationSetup(Section):
    """How Llumnix migrates: when it looks, its threshold in KV blocks a request, and what each copy takes.

    ``latency`` is beside the bytes.
    """

    period: Duration
    threshold: float
    bandwidth: Bandwidth
    latency: DurationOrZero
    token_bytes: Size
    last_blocks: Count
    stages: Count

    def copying(self, instances: int) -> Copying:
        """Return how KV goes between instances that each have a link of their own."""
        topology = Topology([Place(1, None, self.bandwidth)] * instances, 1, to_ps(self.latency))
        return Copying(topology, self.token_bytes, self.last_blocks, self.stages)


class DowntimeSetup(Section):
    """Prompts that are migrated, among how many others of what length, and at how many moments of an iteration."""

    prompts: list[Count] = Field(min_length=2)
    others: Count
    other_prompt: Count
    phases: Count


class PrioritySetup(Section):
    """One share of requests is ``urgent``; ``headroom`` in KV tokens; arrivals as bursty as ``cv``."""

    lengths: ZipfLengths
    overload: Rate
    share: float
    cv: float
    urgent: float
    headroom: Count
    seeds: Seeds


class LlumnixSetup(Setup):
    """What ``llumnix.yaml`` has beside what every reproduction has; ``shares`` of INFaaS++'s saturation."""

    lengths: ZipfLengths
    overload: Rate
    shares: list[float] = Field(min_length=2)
    migration: MigrationSetup
    downtime: DowntimeSetup
    priority: PrioritySetup


@reproduction("llumnix", LlumnixSetup)
def reproduce(setup: LlumnixSetup, runner: Runner) -> Outcome:
    """Find INFaaS++'s saturation for each seed, sweep shares of it, then look at downtime and priorities."""
    world, seeds, shares = setup.world("infaas"), setup.seeds, setup.shares
    full = runner.map(saturation, [(world, setup.lengths, setup.overload, setup.requests, seed) for seed in seeds])
    tasks = [
        (world, migration, setup.lengths, share * full[at], setup.requests, seed)
        for migration in (None, setup.migration)
        for share in shares
        for at, seed in enumerate(seeds)
    ]
    # Shape (INFaaS++ or Llumnix, share, seed, metric); metrics as ``sweep_point`` returns them.
    found = np.array(runner.map(sweep_point, tasks)).reshape(2, len(shares), len(seeds), len(_METRICS))
    gains = found[0] / np.maximum(found[1], 1e-12)
    mean_gain = np.median(gains[..., _METRICS.index("mean TTFT")], axis=1)
    best = int(mean_gain.argmax())
    rows = {
        name: Row(gains[best, :, _METRICS.index(metric)].tolist())
        for name, metric in (("best", "mean TTFT"), ("p99", "P99 TTFT"), ("e2e", "mean e2e"), ("decode", "P99 TPOT"))
    }
    rows["low"] = Row(gains[0, :, 0].tolist())
    rows["past"] = Row([float(mean_gain[best] / mean_gain[-1])])
    lost = found[..., _METRICS.index("lost")].sum(axis=2)
    less = {
        share: 100 * (1 - lost[1, at] / lost[0, at]) for at, share in enumerate(shares) if share < 1 and lost[0, at]
    }
    rows["loss"] = Row([min(less.values(), default=np.nan)])
    rows |= _downtime(setup, runner) | _priorities(setup, runner)
    moved = found[1, :, :, _METRICS.index("migrations")].mean(axis=1) / setup.requests
    notes = [
        f"INFaaS++ saturates at {np.mean(full):.2f} requests/s (the paper's sweep goes from 7.4 to 8.0)",
        f"the best rate is {shares[best]:g} of saturation; migrations a request at each rate: "
        + ", ".join(f"{value:.2f}" for value in moved),
        "P99 TTFT gains of each seed: "
        + "; ".join(f"at {share:g}: " + ", ".join(f"{gain:.2g}" for gain in sorted(gains[at, :, 1]))
                    for at, share in enumerate(shares)),
        "less time lost to preemptions at " + ", ".join(f"{share:g}: {value:.0f} %" for share, value in less.items()),
        "time lost to preemptions is from a request's last token before to its first one after",
    ]  # fmt: skip
    return Outcome(rows, _figure(setup, found, gains), notes)


_METRICS = ["mean TTFT", "P99 TTFT", "mean e2e", "P99 TPOT", "lost", "migrations"]


def saturation(world: World, lengths: ZipfLengths, rate: float, requests: int, seed: int) -> float:
    """Return the requests a second that end while more arrive than can be served."""
    served = world.serve(_workload(lengths, rate, requests, seed), seed)
    last = int(served.table.arrival.max())
    return float((served.table.finished <= last).sum() / (last / PS_PER_S))


def sweep_point(
    world: World, migration: MigrationSetup | None, lengths: ZipfLengths, rate: float, requests: int, seed: int
) -> list[float]:
    """Return mean and P99 TTFT, mean e2e, P99 TPOT, what preemptions cost a request (all in s), and migrations."""
    given = _workload(lengths, rate, requests, seed)
    served, moves = _serve(world, migration, given, seed)
    ttft, decode = served.ttft_s, float(np.percentile(served.tpot_s, 99))
    return [ttft.mean(), np.percentile(ttft, 99), served.e2e_s.mean(), decode, lost_s(served) / requests, moves]


def lost_s(served: Served) -> float:
    """Return the seconds between tokens of one request that one instance made on either side of a preemption."""
    spans = []
    for index, ledger in enumerate(served.ledgers):
        each, runs = ledger.spans(), ledger.runs()
        if len(each):
            ends = [iteration_ends(runs, each[:, column]) for column in (1, 2)]
            spans.append(np.stack([each[:, 0], np.full(len(each), index), *ends], axis=1))
    if not spans:
        return 0.0
    ordered = np.concatenate(spans)
    ordered = ordered[np.lexsort((ordered[:, 2], ordered[:, 0]))]
    before, after = ordered[:-1], ordered[1:]
    same = (before[:, :2] == after[:, :2]).all(axis=1)
    return float((after[same, 2] - before[same, 3]).sum() / PS_PER_S)


def _workload(lengths: ZipfLengths, rate: float, requests: int, seed: int, cv: float = 1.0) -> Workload:
    streams = Streams(seed)
    drawn, times = streams.get("lengths"), arrivals(streams.get("arrivals"), requests, rate, cv)
    return workload(times, Drawn(lengths.draw(drawn, requests), lengths.draw(drawn, requests)))


def _serve(
    world: World, migration: MigrationSetup | None, given: Workload, seed: int, usage: VirtualUsage | None = None
) -> tuple[Served, int]:
    """Serve with migration, or without; return what came out and how many requests moved."""
    if migration is None:
        return world.serve(given, seed), 0
    spec = world.spec
    params = {} if usage is None else {"urgent": usage.urgent, "headroom": usage.headroom}
    front = Llumnix(
        ROUTERS.make(spec.router.name, spec.router.params | params),
        migration.copying(spec.instances),
        usage or VirtualUsage(),
        period=to_ps(migration.period),
        threshold=migration.threshold,
    )
    served = serve([world.server() for _ in range(spec.instances)], front, given, seed)
    return served, len(front.cluster.moves)


def _priorities(setup: LlumnixSetup, runner: Runner) -> dict[str, Row]:
    spec = setup.priority
    seeds = spec.seeds[: len(setup.seeds)]
    alike, urgent = setup.world("alike"), setup.world("urgent")
    full = runner.map(saturation, [(alike, spec.lengths, spec.overload, setup.requests, seed) for seed in seeds])
    tasks = [
        (world, setup.migration, spec, world is urgent, full[at] * spec.share, setup.requests, seed)
        for world in (alike, urgent)
        for at, seed in enumerate(seeds)
    ]
    # Shape (all alike or urgent ones first, seed, urgent requests or the others).
    found = np.array(runner.map(priority_point, tasks)).reshape(2, len(seeds), 2)
    gains = found[0] / found[1]
    return {"urgent": Row(gains[:, 0].tolist()), "normal": Row((100 * (1 / gains[:, 1] - 1)).tolist())}


def priority_point(
    world: World, migration: MigrationSetup, spec: PrioritySetup, known: bool, rate: float, requests: int, seed: int
) -> tuple[float, float]:
    """Return the mean TTFT in s of urgent requests and of the others; ``known``: whether Llumnix knows them apart."""
    given = _workload(spec.lengths, rate, requests, seed, spec.cv)
    urgent = Streams(seed).get("priorities").random(requests) < spec.urgent
    usage = None
    if known:
        given, usage = replace(given, priority=np.where(urgent, 0, 1)), VirtualUsage(0, spec.headroom)
    ttft = _serve(world, migration, given, seed, usage)[0].ttft_s
    return float(ttft[urgent].mean()), float(ttft[~urgent].mean())


class _Once(RouterFront):
    """Round robin before two instances, and one migration of the first request, asked for at a time in ps."""

    def __init__(self, copying: Copying, when: int) -> None:
        super().__init__(ROUTERS.make("round_robin", {}))
        self.copying, self.when = copying, when

    def start(self, cluster: Cluster) -> None:
        super().start(cluster)
        cluster.every(self.when, self._ask)

    def _ask(self, now: int) -> None:
        source, target = self.cluster.instances
        first = self.cluster.requests[0]
        if now == self.when:
            Migration(self.cluster, self.copying, first, source, target, lambda migration, moved: None)


def downtime_ms(
    world: World, migration: MigrationSetup, prompt: int, others: int, other_prompt: int, after_s: float
) -> tuple[float, float]:
    """Return for how long a request is in nobody's batch when it migrates, and what computing its prompt takes; in ms.

    It shares each instance with so many ``others``. The time runs from the end of its last iteration at the source to
    the beginning of its first one at the target.
    """
    prompts = np.array([prompt] + [other_prompt] * 2 * others)
    given = workload(np.zeros(len(prompts)), Drawn(prompts, np.full(len(prompts), _OUTPUT)))
    served = serve([world.server(), world.server()], _Once(migration.copying(2), round(after_s * PS_PER_S)), given)
    source, target = served.ledgers
    (left,) = (span[2] for span in source.spans().tolist() if span[0] == 0)
    (joined,) = (span[1] for span in target.spans().tolist() if span[0] == 0)
    last, before = iteration_ends(source.runs(), np.array(left)), iteration_ends(target.runs(), np.array(joined - 1))
    alone = world.cost.prefill([(0, prompt)], 0)
    return float(before - last) / PS_PER_MS, 1e3 * alone


_OUTPUT = 250  # tokens of each request while one of them migrates


def _downtime(setup: LlumnixSetup, runner: Runner) -> dict[str, Row]:
    spec = setup.downtime
    world = setup.world("infaas")
    # Some seconds after all prompts are done; at moments of both instances' iterations that have nothing to do with
    # each other, as neither lasts a whole fraction of this.
    moments = [5 + 0.0537 * phase for phase in range(spec.phases)]
    without = setup.migration.model_copy(update={"latency": 0.0})
    tasks = [
        (world, migration, prompt, spec.others, spec.other_prompt, after)
        for migration in (setup.migration, without)
        for prompt in spec.prompts
        for after in moments
    ]
    # Shape (with or without latency, prompt, phase, downtime or prefill).
    found = np.array(runner.map(downtime_ms, tasks)).reshape(2, len(spec.prompts), len(moments), 2)
    means = found[..., 0].mean(axis=2)
    ratio = means.max(axis=1) / means.min(axis=1)
    recompute = found[:, -1, 0, 1] / means[:, -1]
    return {
        "downtime": Row(*means.tolist()),
        "constant": Row([float(ratio[0])], [float(ratio[1])]),
        "recompute": Row([float(recompute[0])], [float(recompute[1])]),
    }


def _figure(setup: LlumnixSetup, found: Float, gains: Float) -> Figure:
    names = "INFaaS++", "Llumnix"

    def lines(metric: str) -> list[Series]:
        values = found[..., _METRICS.index(metric)]
        return [
            Series(name, setup.shares, np.median(values[at], axis=1).tolist(), values[at].std(axis=1).tolist())
            for at, name in enumerate(names)
        ]

    x = "load (share of INFaaS++'s saturation)"
    each = [
        Series("mean TTFT", setup.shares, np.median(gains[..., 0], axis=1).tolist()),
        Series("P99 TTFT", setup.shares, np.median(gains[..., 1], axis=1).tolist()),
    ]
    panels = [
        Panel("Mean TTFT", x, "s", lines("mean TTFT"), log_y=True),
        Panel("P99 TTFT", x, "s", lines("P99 TTFT"), log_y=True),
        Panel("Lost to preemptions", x, "s a request", lines("lost"), log_y=False),
        Panel("Gain (median of seeds)", x, "times", each, limit=1.0),
    ]
    return Figure("Llumnix: 16 A10 with Llama 7B, lengths of mean 256", panels)
