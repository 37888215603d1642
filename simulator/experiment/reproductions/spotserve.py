"""SpotServe: tail latency on spot nodes, against restarting everything and against rerouting."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from simulator.cluster.cluster import Server
from simulator.cluster.reparallelise import Option, Shape, best_configuration
from simulator.cluster.rerouting import Rerouting
from simulator.cluster.spot import Layout, Nodes, Spot
from simulator.cluster.spotserve import SpotServe
from simulator.core import Streams, to_ps
from simulator.core.quantity import Bandwidth, Duration, DurationOrZero, Rate, Size
from simulator.cost.base import CostModel
from simulator.cost.published_table import TimeTable
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.experiment.reproductions.tools.availability import Availability
from simulator.experiment.reproductions.tools.batch_table import BatchTable
from simulator.experiment.reproductions.tools.lengths import Drawn
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import arrivals, workload
from simulator.experiment.reproductions.tools.world import serve
from simulator.experiment.spot import batch_seconds
from simulator.scheduling.registry import SCHEDULERS
from simulator.workload.section import Count, Section

System = Literal["spotserve", "reparallelization", "rerouting"]
_SYSTEMS: tuple[System, ...] = ("spotserve", "reparallelization", "rerouting")
_LABELS = ("SpotServe", "Reparallelization", "Rerouting")
_Pair = Annotated[list[Count], Field(min_length=2, max_length=2)]
_Positive = Annotated[float, Field(gt=0)]
_NUMBER = 4  # bytes: the artifact computes in single precision
_BLOCK = 16


class Links(Section):
    """A node's links, in one direction."""

    gpus_per_node: Count
    within: Bandwidth
    between: Bandwidth
    storage: Bandwidth


class Layer(Section):
    """Times of one layer over ``tensor`` GPUs, by requests together: their ``prompt``s, and a ``token`` of each."""

    tensor: Count
    prompt: TimeTable
    token: TimeTable


class Hop(Section):
    """What passing a batch on to the next stage takes."""

    prompt: DurationOrZero
    token: DurationOrZero


class Model(Section):
    """A model, its times by tensor ranks, and its load.

    ``published``: seconds of one request on ``shape`` (stages and tensor ranks). ``required``: the rate that the
    optimizer has to serve. ``cut_as``: so many layers are cut into equal stages.
    """

    label: str
    layers: Count
    cut_as: Count
    hidden: Count
    weights: Size
    least_gpus: Count
    shape: _Pair
    published: Duration
    rate: Rate
    required: Rate
    hop: Hop
    profile: list[Layer]


class SpotServeSetup(Setup):
    """What ``spotserve.yaml`` has beside what every reproduction has.

    ``jitter``: the scale of the gamma distribution of times between arrivals; ``printed_cv``: their CV by the paper.
    ``margin``: on the profiles' times. ``remarks``: notes in the report.
    """

    links: Links
    grace: Duration
    restart: DurationOrZero
    jitter: Duration
    prompt: Count
    output: Count
    batches: list[Count]
    printed_cv: _Positive
    margin: _Positive
    remarks: list[str]
    availability: dict[str, Availability]
    models: dict[str, Model]

    def cost(self, model: Model, shape: Shape, *, estimated: bool = False) -> CostModel:
        """Return what a pipeline's iterations cost, each batch in the micro-batches that take least.

        ``estimated``: as the artifact's optimizer has it, which divides prompts' time by the number of micro-batches.
        """
        layer = next(each for each in model.profile if each.tensor == shape.tensor)
        deep = -(-model.layers // shape.stages)

        def through(requests: int, times: TimeTable, hop: float, *, less: bool) -> str:
            each = [
                (shape.stages + parts - 1) * deep * times.at(requests // parts) / (parts if less else 1)
                + (shape.stages - 1) * hop / parts
                for parts in times.root
                if requests % parts == 0
            ]
            return f"{self.margin * min(each)}s"

        sizes, hop = list(layer.prompt.root), model.hop
        return BatchTable.model_validate(
            {
                "kind": "table",
                "source": "SpotServe's artifact, profile/T4-4x (Apache-2.0)",
                "prefill": {
                    size * self.prompt: through(size, layer.prompt, hop.prompt, less=estimated) for size in sizes
                },
                "decode": {size: through(size, layer.token, hop.token, less=False) for size in sizes},
            }
        ).cost_model()

    @property
    def most_gpus(self) -> int:
        """The GPUs of the most nodes with which a trace begins."""
        return max(each.nodes for each in self.availability.values()) * self.links.gpus_per_node

    def layouts(self, model: Model, *, estimated: bool = False) -> Iterator[Layout]:
        """Yield the pipelines that may be."""
        for layer in model.profile:
            for stages in range(1, self.most_gpus // layer.tensor + 1):
                shape = Shape(stages, layer.tensor)
                if shape.gpus >= model.least_gpus and model.cut_as % stages == 0:
                    cost = self.cost(model, shape, estimated=estimated)
                    first = to_ps(batch_seconds(cost, max(self.batches), self.prompt, 1))
                    yield Layout(shape, cost, self.engine, first)

    def options(self, model: Model) -> list[Option]:
        """Return what configurations are made of, at the times that the optimizer goes by."""
        return [
            Option(each.shape, size, batch_seconds(each.cost, size, self.prompt, self.output))
            for each in self.layouts(model, estimated=True)
            for size in self.batches
        ]

    def spread(self, model: Model) -> float:
        """Return the coefficient of variation of the artifact's times between arrivals."""
        return float((self.jitter * model.rate) ** 0.5)

    def engine(self, ledger: Ledger, batch: int) -> EngineCore:
        """Return an engine with memory for a whole batch."""
        tokens = self.prompt + self.output
        pool = CountingPool(batch * -(-tokens // _BLOCK), _BLOCK, reuse=False)
        return EngineCore(pool, SCHEDULERS.make("whole_batches", {"max_num_seqs": batch}), ledger, tokens)

    def front(self, system: System, model: Model, trace: Availability, variant: "Variant") -> Spot:
        """Return a system before a model's nodes."""
        links, options, spread = self.links, self.options(model), self.spread(model)
        nodes = Nodes(links.gpus_per_node, links.between, links.within, links.storage / variant.slower)
        layouts = list(self.layouts(model, estimated=variant.estimated))
        common = layouts, nodes, trace.nodes, trace.replay(self.grace), to_ps(self.grace)
        restart = to_ps(self.restart * variant.slower)
        if system == "rerouting":
            chosen = best_configuration(options, self.most_gpus, model.required, spread, tie=0.0)
            assert chosen is not None
            return Rerouting(*common, shape=chosen.shape, batch=chosen.batch, weights=model.weights, restart=restart)
        return SpotServe(
            *common,
            options=options,
            weights=model.weights,
            token_bytes=2 * model.layers * model.hidden * _NUMBER,
            rate=model.required,
            cv=spread,
            tie=0.0,
            restarts=system == "reparallelization",
            restart=restart,
        )


class Variant(Section):
    """What may be otherwise: by how much longer restarts take, arrivals' CV, and the engine's times as estimated."""

    slower: _Positive = 1.0
    cv: _Positive | None = None
    estimated: bool = False


@reproduction("spotserve", SpotServeSetup)
def reproduce(setup: SpotServeSetup, runner: Runner) -> Outcome:
    """Serve each model in each trace with the three systems; the largest one with other constants, too."""
    seeds, traces, models = setup.seeds, list(setup.availability), list(setup.models)
    largest = models[-1]

    def measured(names: list[str], systems: Sequence[System], variant: Variant) -> np.ndarray:
        """Return P99, mean, configurations and requests begun anew, by model, trace, system and seed."""
        tasks = [
            (setup, name, at, system, variant, seed)
            for name in names
            for at in traces
            for system in systems
            for seed in seeds
        ]
        found = np.array(runner.map(serve_spot, tasks))
        return found.reshape(len(names), len(traces), len(systems), len(seeds), 4)

    found = measured(models, _SYSTEMS, Variant())
    tails, means = found[..., 0], found[..., 1]
    gains = tails[:, :, 1:] / tails[:, :, :1]  # by model, trace, baseline and seed
    rows = {}
    for at, name in enumerate(("repar", "rerouting")):
        rows[f"{name}_least"], rows[f"{name}_most"] = (
            Row(values.tolist()) for values in (gains[-1, :, at].min(axis=0), gains[-1, :, at].max(axis=0))
        )
        rows[f"mean_{name}"] = Row(_together(means[-1, :, at + 1] / means[-1, :, 0]))
    rows["baselines"] = Row(_together(gains[-1, :, 1] / gains[-1, :, 0]))
    rows |= {f"best_{name}": Row(gains[at].min(axis=(0, 1)).tolist()) for at, name in enumerate(models)}
    rows |= {f"order_{number}": Row(each.tolist()) for number, each in enumerate(gains[-1, :, 1] / gains[-1, :, 0])}
    for name, slower in (("half", 0.5), ("twice", 2.0)):
        other = measured([largest], _SYSTEMS[1:2], Variant(slower=slower))[0, :, 0, :, 0]
        rows[name] = Row(_together(other / tails[-1, :, 0]))
    for name, variant in (("bursts", Variant(cv=setup.printed_cv)), ("estimated", Variant(estimated=True))):
        other = measured([largest], _SYSTEMS, variant)[0, ..., 0]
        for at, baseline in enumerate(("repar", "rerouting")):
            rows[f"{name}_{baseline}"] = Row(_together(other[:, at + 1] / other[:, 0]))
    rows["reconfigured"] = Row((found[-1, :, 0, :, 2] - 1).mean(axis=0).tolist())
    for name, model in setup.models.items():
        seconds = batch_seconds(setup.cost(model, Shape(*model.shape)), 1, setup.prompt, setup.output)
        rows[f"time_{name}"] = Row([seconds])
    return Outcome(rows, _figure(setup, tails), setup.remarks)


def serve_spot(
    setup: SpotServeSetup, name: str, at: str, system: System, variant: Variant, seed: int
) -> tuple[float, float, int, int]:
    """Return P99 and mean latency in s, the configurations there were, and the requests that began anew."""
    model, trace, streams = setup.models[name], setup.availability[at], Streams(seed)
    longest, slowest = next(iter(setup.availability.values())), min(each.rate for each in setup.models.values())
    requests = round(setup.requests * model.rate / slowest * trace.end / longest.end)
    times = arrivals(streams.get("arrivals"), requests, model.rate, variant.cv or setup.spread(model))
    if variant.cv is not None:
        times *= requests / model.rate / times[-1]  # so that the last one arrives as the trace ends
    front = setup.front(system, model, trace, variant)
    layout = next(iter(front.layouts.values()))
    slots = setup.most_gpus // model.least_gpus
    servers = [Server(setup.engine(Ledger(), 1), layout.cost) for _ in range(slots)]
    lengths = Drawn(np.full(requests, setup.prompt), np.full(requests, setup.output))
    served = serve(servers, front, workload(times, lengths), seed)
    count = len(front.configurations) if isinstance(front, SpotServe) else 0
    return float(np.percentile(served.e2e_s, 99)), float(served.e2e_s.mean()), count, front.restarted


def _together(ratios: np.ndarray) -> list[float]:
    """Return the geometric mean over traces (the first axis), by seed."""
    values: list[float] = np.exp(np.log(ratios).mean(axis=0)).tolist()
    return values


def _figure(setup: SpotServeSetup, tails: np.ndarray) -> Figure:
    models = [model.label for model in setup.models.values()]
    panels = []
    for at, name in enumerate(setup.availability):
        series = [
            Series(label, models, values.mean(axis=1).tolist(), values.std(axis=1).tolist())
            for label, values in zip(_LABELS, tails[:, at].swapaxes(0, 1), strict=True)
        ]
        panels.append(Panel(f"Availability {name}", "", "P99 latency (s)", series))
    return Figure("SpotServe: tail latency on spot nodes of four T4, in its artifact's traces", panels)
