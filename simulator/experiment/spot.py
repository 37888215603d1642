"""From ``cluster.spot`` to the front that serves on nodes which leave and come."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

from simulator.cluster.cluster import Server
from simulator.cluster.reparallelise import Option, Shape
from simulator.cluster.rerouting import Rerouting
from simulator.cluster.spot import Change, Layout, Nodes, Spot
from simulator.cluster.spotserve import SpotServe
from simulator.core import InputError, Request, to_ps
from simulator.core.units import PS_PER_S
from simulator.cost.base import CostModel
from simulator.engine.core import EngineCore
from simulator.engine.ledger import Ledger
from simulator.experiment.costs import Meter
from simulator.experiment.schema import ClusterSpec, Experiment, InstanceSpec
from simulator.experiment.spot_sections import SpotSpec
from simulator.hardware.registry import load_profile
from simulator.model.transformer import Transformer
from simulator.scheduling.registry import SCHEDULERS
from simulator.workload.table import Workload


class Kind(Protocol):
    """A kind of instance, as the assembly makes it."""

    cost: CostModel
    meter: Meter

    def server(self) -> Server:
        """Return a new server."""
        ...

    def describe(self, position: int) -> dict[str, Any]:
        """Return its line in the results."""
        ...


@dataclass(frozen=True)
class SpotParts:
    """What a run on spot nodes is assembled from; a server and a meter for each pipeline that there may be."""

    front: Spot
    servers: list[Server]
    kinds: list[dict[str, Any]]
    costs: list[CostModel]
    meters: list[Meter]
    gpus: int


def spot(
    config: Experiment, model: Transformer, workload: Workload, kind_of: Callable[[InstanceSpec], Kind]
) -> SpotParts:
    """Return the parts; InputError names the key of what does not fit together."""
    cluster, spec = config.cluster, config.cluster.spot
    assert spec is not None
    _check(config)
    instance = cluster.instances[0]
    scheduler = instance.scheduler

    @cache
    def kind(shape: Shape, batch: int) -> Kind:
        limited = scheduler.model_copy(update={"params": {**scheduler.params, "max_num_seqs": batch}})
        spread = {"tensor_parallel": shape.tensor, "pipeline_parallel": shape.stages, "scheduler": limited}
        return kind_of(instance.model_copy(update=spread))

    prompt, output = (round(float(column.mean())) for column in (workload.prompt_tokens, workload.output_tokens))
    most, shapes = max(spec.batches), [Shape(*each) for each in spec.shapes]

    def layout(shape: Shape) -> Layout:
        def fresh(ledger: Ledger, batch: int) -> EngineCore:
            make = kind(shape, batch).server().fresh
            assert make is not None
            return make(ledger)

        cost = kind(shape, most).cost
        return Layout(shape, cost, fresh, to_ps(batch_seconds(cost, most, prompt, 1)))

    layouts = [layout(shape) for shape in shapes]
    options = [
        Option(each.shape, batch, batch_seconds(each.cost, batch, prompt, output))
        for each in layouts
        for batch in spec.batches
    ]
    model = model.with_precision(instance.quantization, instance.kv_cache_dtype)
    front = _front(config, spec, layouts, options, model)
    first = kind(shapes[0], most)
    servers = [Server(first.server().core, first.cost) for _ in range(instance.count)]
    kinds = [kind(shape, most) for shape in shapes]
    described = [each.describe(position) for position, each in enumerate(kinds)]
    for position, (shape, line) in enumerate(zip(shapes, described, strict=True)):
        line["name"] = f"{position}: {line['hardware']} {shape.stages} x {shape.tensor} {scheduler.name}"
        line["count"] = min(instance.count, max(spec.nodes * cluster.links.gpus_per_node // shape.gpus, 1))
    gpus = spec.nodes * cluster.links.gpus_per_node
    # How many GPUs iterate changes with the shape, and a meter has one number: what they draw stays unknown.
    meters = [replace(first.meter, draw=None)] * instance.count
    return SpotParts(front, servers, described, [each.cost for each in kinds], meters, gpus)


def _check(config: Experiment) -> None:
    cluster = config.cluster
    if len(cluster.instances) != 1:
        raise InputError("spot nodes of several kinds", where="cluster.instances", hint="one entry")
    for key in ("disaggregation", "migration", "borrowing", "faults", "autoscaling"):
        if getattr(cluster, key) is not None:
            raise InputError(f"{key} on spot nodes", where=f"cluster.{key}", hint=f"leave out cluster.{key} or spot")
    name = cluster.instances[0].scheduler.name
    policy = SCHEDULERS.get(name)
    if not policy.adopts or "max_num_seqs" not in SCHEDULERS.parameters(name):
        raise InputError(
            f"scheduler '{name}' cannot go on with requests that moved",
            where="cluster.instances[0].scheduler",
            hint="whole_batches, or vllm",
        )


def _front(
    config: Experiment, spec: SpotSpec, layouts: list[Layout], options: list[Option], model: Transformer
) -> Spot:
    common = layouts, _nodes(config.cluster, spec), spec.nodes, _changes(spec), to_ps(spec.grace)
    weights, restart = model.weight_bytes(), to_ps(spec.restart)
    if spec.system == "rerouting":
        return Rerouting(*common, shape=layouts[0].shape, batch=max(spec.batches), weights=weights, restart=restart)
    return SpotServe(
        *common,
        options=options,
        weights=weights,
        token_bytes=model.kv_bytes_per_token(1),
        rate=spec.rate,
        cv=spec.cv,
        window=to_ps(spec.window),
        restarts=spec.system == "reparallelization",
        restart=restart,
    )


def _nodes(cluster: ClusterSpec, spec: SpotSpec) -> Nodes:
    links, own = cluster.links, load_profile(cluster.instances[0].hardware).links
    within, between = links.within_node, links.between_nodes
    if within is None and (link := own.nvlink or own.pcie) is not None:
        within = link.bandwidth
    if between is None and own.infiniband is not None:
        between = own.infiniband.bandwidth
    if within is None or between is None:
        key = "within_node" if within is None else "between_nodes"
        hint = "the hardware profile has none measured: give it a bandwidth"
        raise InputError("nodes without links", where=f"cluster.links.{key}", hint=hint)
    size = links.gpus_per_node
    return Nodes(size, size * between, size * within, spec.storage)


def _changes(spec: SpotSpec) -> list[Change]:
    present, fresh = list(range(spec.nodes)), spec.nodes
    changes: list[Change] = []
    for position, change in enumerate(spec.changes):
        at = to_ps(change.at)
        if changes and at < changes[-1].at:
            raise InputError("changes must be in time", where=f"cluster.spot.changes[{position}].at")
        if change.leave is not None:
            if change.leave > len(present):
                raise InputError(
                    f"{change.leave} nodes leave of {len(present)}", where=f"cluster.spot.changes[{position}].leave"
                )
            changes += [Change(at, node, comes=False) for node in present[: change.leave]]
            present = present[change.leave :]
        for _ in range(change.come or 0):
            changes.append(Change(at, fresh, comes=True))
            present.append(fresh)
            fresh += 1
    return changes


def batch_seconds(cost: CostModel, batch: int, prompt: int, output: int) -> float:
    """Return how long a batch of equal requests takes alone, from its prompts to its last tokens."""
    chunks = [(Request(0, 0, prompt, output), prompt)] * batch
    spent = cost.mixed(chunks, batch * prompt, 0, 0, _Longest(0))
    made = 1
    while made < output:
        context = prompt + made
        first, growth, limit = cost.decode_run(batch, batch * context, _Longest(context))
        count = min(output - made, limit)
        spent += count * first + growth * (count * (count - 1) // 2)
        made += count
    return spent / PS_PER_S


@dataclass(frozen=True)
class _Longest:
    longest: int
