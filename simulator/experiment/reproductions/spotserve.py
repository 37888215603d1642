"""SpotServe: tail latency on spot nodes, against restarting everything and against rerouting."""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from simulator.cluster.cluster import Server
from simulator.cluster.reparallelise import Option, Shape
from simulator.cluster.rerouting import Rerouting
from simulator.cluster.spot import Change, Layout, Nodes, Spot
from simulator.cluster.spotserve import SpotServe
from simulator.core import Streams, to_ps
from simulator.core.quantity import Bandwidth, Duration, DurationOrZero, Rate
from simulator.cost.base import CostModel
from simulator.cost.published_fit import AffineFit
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
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
Kind = Literal["ebb", "churn"]
_KINDS: tuple[Kind, ...] = ("ebb", "churn")
_SYSTEMS: tuple[System, ...] = ("spotserve", "reparallelization", "rerouting")
_Pair = Annotated[list[Count], Field(min_length=2, max_length=2)]
_Positive = Annotated[float, Field(gt=0)]
_BLOCK = 16


class Gpu(Section):
    """A GPU by its data sheet, and the share of it that an engine gets."""

    memory_bandwidth: Bandwidth
    flops: _Positive
    number_bytes: Count
    efficiency: _Positive


class Links(Section):
    """A node's links, in one direction."""

    gpus_per_node: Count
    within: Bandwidth
    between: Bandwidth
    storage: Bandwidth


class Model(Section):
    """A model, the fewest GPUs it was served on (``shape``: stages and tensor ranks), its rate, and nodes from, to."""

    label: str
    layers: Count
    hidden: Count
    parameters: _Positive
    shape: _Pair
    rate: Rate
    nodes: _Pair
    published: Duration


class SpotServeSetup(Setup):
    """What ``spotserve.yaml`` has beside what every reproduction has."""

    gpu: Gpu
    links: Links
    grace: Duration
    restart: DurationOrZero
    cv: _Positive
    prompt: Count
    output: Count
    batches: list[Count]
    tensors: list[Count]
    allreduce: list[DurationOrZero]
    duration: Duration
    models: dict[str, Model]
    churn: Count

    def cost(self, model: Model, shape: Shape) -> CostModel:
        """Return what a pipeline's iterations cost: reads and FLOPs at a share of the data sheet, all-reduces."""
        gpu, links, tensor = self.gpu, self.links, shape.tensor
        speed = tensor * gpu.memory_bandwidth * gpu.efficiency
        numbers = model.layers * model.hidden * gpu.number_bytes
        link = links.within if tensor <= links.gpus_per_node else links.between
        latency = 2 * model.layers * self.allreduce[self.tensors.index(tensor)]
        sent = 2 * numbers * 2 * (tensor - 1) / tensor / link
        token = 2 * model.parameters / (tensor * gpu.flops * gpu.efficiency) + sent
        return AffineFit.model_validate(
            {
                "kind": "affine",
                "source": "T4 data sheet, with calibrated constants",
                "prefill": {"base": f"{latency}s", "token": f"{token}s"},
                "decode": [{"base": f"{self.weights(model) / speed + latency}s", "context": f"{2 * numbers / speed}s"}],
                "stages": shape.stages,
            }
        ).cost_model()

    def weights(self, model: Model) -> float:
        """Return the bytes of a model's weights."""
        return model.parameters * self.gpu.number_bytes

    def layouts(self, model: Model) -> Iterator[Layout]:
        """Yield the pipelines that may be, none with more weights a GPU than the fewest GPUs have."""
        least = model.shape[0] * model.shape[1]
        most = model.nodes[1] * self.links.gpus_per_node
        for tensor in self.tensors:
            for stages in range(1, most // tensor + 1):
                shape = Shape(stages, tensor)
                if shape.gpus >= least:
                    cost = self.cost(model, shape)
                    first = to_ps(batch_seconds(cost, max(self.batches), self.prompt, 1))
                    yield Layout(shape, cost, self.engine, first)

    def engine(self, ledger: Ledger, batch: int) -> EngineCore:
        """Return an engine with memory for a whole batch."""
        tokens = self.prompt + self.output
        pool = CountingPool(batch * -(-tokens // _BLOCK), _BLOCK, reuse=False)
        return EngineCore(pool, SCHEDULERS.make("whole_batches", {"max_num_seqs": batch}), ledger, tokens)

    def front(
        self, system: System, model: Model, changes: list[Change], initial: int, slower: float, batch: int
    ) -> Spot:
        """Return a system before a model's nodes; ``slower``: by how much longer restarts take."""
        links, layouts = self.links, list(self.layouts(model))
        nodes = Nodes(links.gpus_per_node, links.between, links.within, links.storage / slower)
        restart, weights = to_ps(self.restart * slower), self.weights(model)
        common = layouts, nodes, initial, changes, to_ps(self.grace)
        if system == "rerouting":
            return Rerouting(*common, shape=Shape(*model.shape), batch=batch, weights=weights, restart=restart)
        return SpotServe(
            *common,
            options=[
                Option(each.shape, size, batch_seconds(each.cost, size, self.prompt, self.output))
                for each in layouts
                for size in self.batches
            ],
            weights=weights,
            token_bytes=2 * model.layers * model.hidden * self.gpu.number_bytes,
            rate=model.rate,
            cv=self.cv,
            restarts=system == "reparallelization",
            restart=restart,
        )


def availability(
    kind: Kind, rng: np.random.Generator, changes: int, nodes: list[int], seconds: float
) -> tuple[int, list[Change]]:
    """Return the nodes at the beginning, all there may be, and how single ones leave and come afterwards.

    ``nodes``: fewest and most. ``ebb``: one after the other leaves in the first half of the time, until there are the
    fewest, and as many come in the second, at random times. ``churn``: ``changes`` on average in ``seconds``, each to
    either side with the same probability, where there is one.
    """
    least, most = nodes
    if kind == "ebb":
        leaves = [(time, True) for time in rng.uniform(0, seconds / 2, most - least)]
        found = sorted(leaves + [(time, False) for time in rng.uniform(seconds / 2, seconds, most - least)])
    else:
        found, time, count = [], 0.0, most
        while (time := time + rng.exponential(seconds / changes)) < seconds:
            leaving = count == most or (count > least and rng.random() < 0.5)
            found.append((time, leaving))
            count += -1 if leaving else 1
    present, fresh, result = list(range(most)), most, list[Change]()
    for time, leaving in found:
        if leaving:
            result.append(Change(to_ps(time), present.pop(int(rng.integers(len(present)))), comes=False))
        else:
            result.append(Change(to_ps(time), fresh, comes=True))
            present.append(fresh)
            fresh += 1
    return most, result


@reproduction("spotserve", SpotServeSetup)
def reproduce(setup: SpotServeSetup, runner: Runner) -> Outcome:
    """Serve each model under both kinds of availability with the three systems; then with other constants."""
    batch, seeds = max(setup.batches), setup.seeds
    worlds = [(name, kind) for name in setup.models for kind in _KINDS]
    tasks = [(setup, *world, system, 1.0, batch, seed) for world in worlds for system in _SYSTEMS for seed in seeds]
    # Shape (model, kind, system, seed, P99 or mean or configurations or requests begun anew).
    found = np.array(runner.map(serve_spot, tasks)).reshape(
        len(setup.models), len(_KINDS), len(_SYSTEMS), len(seeds), 4
    )
    last = list(setup.models)[-1]
    variants = [(_SYSTEMS[1], 0.5, batch), (_SYSTEMS[1], 2.0, batch), (_SYSTEMS[2], 1.0, batch // 2)]
    others = [(setup, last, "ebb", *variant, seed) for variant in variants for seed in seeds]
    varied = np.array(runner.map(serve_spot, others)).reshape(len(variants), len(seeds), 4)[..., 0]
    tails, means = found[..., 0], found[..., 1]
    gains = tails[:, :, 1:] / tails[:, :, :1]
    rows = {}
    for at, kind in enumerate(_KINDS):
        rows[f"repar_{kind}"], rows[f"rerouting_{kind}"] = (Row(gain.tolist()) for gain in gains[-1, at])
    for at, name in enumerate(setup.models):
        rows[f"best_{name}"] = Row(gains[at].min(axis=(0, 1)).tolist())
    rows["baselines"] = Row((tails[-1, 0, 2] / tails[-1, 0, 1]).tolist())
    rows["halves_gain"] = Row((varied[2] / tails[-1, 0, 0]).tolist())
    rows["halves"] = Row((varied[2] / tails[-1, 0, 1]).tolist())
    for name, values in zip(("half", "twice"), varied, strict=False):
        rows[name] = Row((values / tails[-1, 0, 0]).tolist())
    rows["mean_repar"], rows["mean_rerouting"] = (Row((means[-1, 0, at] / means[-1, 0, 0]).tolist()) for at in (1, 2))
    rows["reconfigured"] = Row((found[-1, 0, 0, :, 2] - 1).tolist())
    for name, model in setup.models.items():
        seconds = batch_seconds(setup.cost(model, Shape(*model.shape)), 1, setup.prompt, setup.output)
        rows[f"time_{name}"] = Row([seconds])
    notes = [
        "Reparallelization pays for each change with a restart of everything, Rerouting only with the pipeline that "
        "lost a node: which of the two is worse depends on how often nodes change and on how full one pipeline is. "
        "With batches of 8 the fewest GPUs still serve LLaMA-30B's mean rate, here at a load of 0.65; with batches of "
        "4 they do not, which is where the paper has Rerouting overloaded",
    ]
    return Outcome(rows, _figure(setup, tails), notes)


def serve_spot(
    setup: SpotServeSetup, name: str, kind: Kind, system: System, slower: float, batch: int, seed: int
) -> tuple[float, float, int, int]:
    """Return P99 and mean latency in s, the configurations there were, and the requests that began anew.

    ``slower``: by how much longer restarts take; ``batch``: Rerouting's.
    """
    model, streams = setup.models[name], Streams(seed)
    requests = round(setup.requests * model.rate / min(each.rate for each in setup.models.values()))
    times = arrivals(streams.get("arrivals"), requests, model.rate, setup.cv)
    lengths = Drawn(np.full(requests, setup.prompt), np.full(requests, setup.output))
    initial, changes = availability(kind, streams.get("availability"), setup.churn, model.nodes, setup.duration)
    front = setup.front(system, model, changes, initial, slower, batch)
    least = model.shape[0] * model.shape[1]
    layout = next(iter(front.layouts.values()))
    servers = [
        Server(setup.engine(Ledger(), 1), layout.cost)
        for _ in range(model.nodes[1] * setup.links.gpus_per_node // least)
    ]
    served = serve(servers, front, workload(times * (requests / model.rate / times[-1]), lengths), seed)
    count = len(front.configurations) if isinstance(front, SpotServe) else 0
    return float(np.percentile(served.e2e_s, 99)), float(served.e2e_s.mean()), count, front.restarted


def _figure(setup: SpotServeSetup, tails: np.ndarray) -> Figure:
    labels = {"spotserve": "SpotServe", "reparallelization": "Reparallelization", "rerouting": "Rerouting"}
    titles = {"ebb": "Nodes leave one by one, then come back", "churn": f"{setup.churn} changes in 20 minutes"}
    models = [model.label for model in setup.models.values()]
    panels = []
    for at, kind in enumerate(_KINDS):
        series = [
            Series(labels[system], models, values.mean(axis=1).tolist(), values.std(axis=1).tolist())
            for system, values in zip(_SYSTEMS, tails[:, at].swapaxes(0, 1), strict=True)
        ]
        panels.append(Panel(titles[kind], "", "P99 latency (s)", series))
    return Figure("SpotServe: tail latency on spot nodes of four T4", panels)
