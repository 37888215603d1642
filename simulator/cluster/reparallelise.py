"""Which parallelism to serve with on the GPUs there are, where each shard goes, and what has to move for it.

Source: Miao et al., SpotServe: Serving Generative Large Language Models on Preemptible Instances, ASPLOS 2024: the
optimizer of configurations (D, P, M, B) and the mapping of devices by Kuhn and Munkres' algorithm, within nodes first.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np


class Shape(NamedTuple):
    """How a pipeline is spread: ``stages`` of layers, each over ``tensor`` GPUs."""

    stages: int
    tensor: int

    @property
    def gpus(self) -> int:
        """GPUs of a pipeline."""
        return self.stages * self.tensor


class Option(NamedTuple):
    """A pipeline that serves batches of ``batch`` requests, each batch in ``seconds``."""

    shape: Shape
    batch: int
    seconds: float


class Configuration(NamedTuple):
    """So many pipelines of one shape and batch."""

    pipelines: int
    shape: Shape
    batch: int

    @property
    def gpus(self) -> int:
        """GPUs of all pipelines."""
        return self.pipelines * self.shape.gpus


def best_configuration(
    options: Sequence[Option], gpus: int, rate: float, cv: float = 1.0, most: int | None = None, tie: float = 0.05
) -> Configuration | None:
    """Return the configuration with the least latency of those that serve ``rate`` requests/s; None if none fits.

    Latency: a batch's time and the wait for it, ``cv**2 / 2 * load / (1 - load) / throughput`` (Kingman's bound, ``cv``
    being that of the times between arrivals). If nothing serves the rate, the one with most throughput. What is within
    ``tie`` of the best is as good, and the fewest GPUs of those are taken. ``most``: pipelines at most.
    """
    timely: list[tuple[float, Configuration]] = []
    late: list[tuple[float, Configuration]] = []  # by time for each request
    for shape, batch, seconds in options:
        for pipelines in range(1, min(gpus // shape.gpus, most or gpus) + 1):
            each = seconds / (pipelines * batch)
            load = rate * each
            configuration = Configuration(pipelines, shape, batch)
            if load < 1:
                timely.append((seconds + cv**2 / 2 * load / (1 - load) * each, configuration))
            else:
                late.append((each, configuration))
    found = timely or late
    if not found:
        return None
    limit = (1 + tie) * min(found)[0]
    return min((each.gpus, rank, each) for rank, each in found if rank <= limit)[2]


@dataclass(frozen=True)
class Placed:
    """A configuration on GPUs, in the order of pipelines, stages and tensor ranks; GPU g is one of node g // size."""

    configuration: Configuration
    gpus: tuple[int, ...]
    size: int

    @property
    def nodes(self) -> set[int]:
        """The nodes that it uses."""
        return {gpu // self.size for gpu in self.gpus}

    def pipeline(self, number: int) -> tuple[int, ...]:
        """Return the GPUs of a pipeline."""
        each = self.configuration.shape.gpus
        return self.gpus[number * each : (number + 1) * each]


class Cell(NamedTuple):
    """A part of the model: where its layers and its tensor ranks begin (of 1), and its share of all bytes."""

    layer: Fraction
    rank: Fraction
    share: float


class _Shard(NamedTuple):
    pipeline: int
    stage: int
    rank: int


def _shards(configuration: Configuration) -> list[_Shard]:
    stages, tensor = configuration.shape
    return [
        _Shard(pipeline, stage, rank)
        for pipeline in range(configuration.pipelines)
        for stage in range(stages)
        for rank in range(tensor)
    ]


def _overlap(shard: _Shard, shape: Shape, other: _Shard, others: Shape) -> float:
    """Return which share of the model two shards have in common."""
    share = 1.0
    for at, parts, begin, of in ((shard.stage, shape.stages, other.stage, others.stages),
                                 (shard.rank, shape.tensor, other.rank, others.tensor)):  # fmt: skip
        share *= max(min((at + 1) / parts, (begin + 1) / of) - max(at / parts, begin / of), 0.0)
    return share


def place(
    configuration: Configuration,
    nodes: Collection[int],
    size: int,
    before: Placed | None,
    weights: float,
    kept: Mapping[tuple[int, int], float],
) -> Placed:
    """Return the placement on nodes of ``size`` GPUs each that keeps the most bytes where they are.

    Shards are dealt to nodes in order, as many as each has GPUs. ``weights``: bytes of the model; ``kept``: KV bytes by
    pipeline before and pipeline to be. First the best mapping within each pair of node and group of shards, then the
    best of these pairs.
    """
    from scipy.optimize import linear_sum_assignment

    shards = _shards(configuration)
    groups = [shards[low : low + size] for low in range(0, len(shards), size)]
    nodes = sorted(nodes)
    held = {} if before is None else dict(zip(before.gpus, _shards(before.configuration), strict=True))

    def reused(gpu: int, shard: _Shard) -> float:
        if before is None or (has := held.get(gpu)) is None:
            return 0.0
        bytes_ = weights + kept.get((has.pipeline, shard.pipeline), 0.0)
        return bytes_ * _overlap(has, before.configuration.shape, shard, configuration.shape)

    total = np.zeros((len(nodes), len(groups)))
    inner: dict[tuple[int, int], list[int]] = {}
    for row, node in enumerate(nodes):
        gpus = range(node * size, (node + 1) * size)
        for column, group in enumerate(groups):
            values = np.array([[reused(gpu, shard) for gpu in gpus] for shard in group])
            chosen = linear_sum_assignment(values, maximize=True)
            total[row, column] = values[chosen].sum()
            inner[row, column] = [gpus[at] for at in chosen[1]]
    rows, columns = linear_sum_assignment(total, maximize=True)
    by_group = dict(zip(columns.tolist(), rows.tolist(), strict=True))
    placed = [gpu for column in range(len(groups)) for gpu in inner[by_group[column], column]]
    return Placed(configuration, tuple(placed), size)


def extended(placed: Placed, configuration: Configuration, nodes: Collection[int]) -> Placed:
    """Return a placement with further pipelines of the same shape on free GPUs, where what there is stays in place."""
    used, size = set(placed.gpus), placed.size
    free = [gpu for node in sorted(nodes) for gpu in range(node * size, (node + 1) * size) if gpu not in used]
    return Placed(configuration, (*placed.gpus, *free[: configuration.gpus - len(placed.gpus)]), size)


class Traffic(NamedTuple):
    """Bytes by (source node, target node); a source of None is storage. ``moved``: the share of a kept batch's KV that
    changes GPUs, by pipeline before and to be."""

    sent: dict[tuple[int | None, int], float]
    moved: dict[tuple[int, int], float]


def traffic(
    before: Placed | None,
    after: Placed,
    alive: Callable[[int], bool],
    weights: float,
    kept: Mapping[tuple[int, int], float],
) -> Traffic:
    """Return what has to travel: weights from a GPU that has them (of the same node if one does), KV from where it is.

    ``alive`` tells of a node whether it can still send; weights that no live GPU holds come from storage.
    """
    sent: dict[tuple[int | None, int], float] = defaultdict(float)
    moved: dict[tuple[int, int], float] = dict.fromkeys(kept, 0.0)
    leaving: dict[int | None, float] = defaultdict(float)  # bytes that a node sends to others
    sources: dict[int, list[int]] = defaultdict(list)
    for old, new in kept:
        sources[new].append(old)
    size, configuration = after.size, after.configuration
    for gpu, shard in zip(after.gpus, _shards(configuration), strict=True):
        node = gpu // size
        for cell in _cells(configuration.shape, shard, before):
            holders = [] if before is None else _holders(before, cell)
            bytes_ = weights * cell.share
            if gpu not in holders:
                able = [holder // size for holder in holders if alive(holder // size)]
                source = None
                if able:
                    source = node if node in able else min(able, key=lambda each: leaving[each])
                sent[source, node] += bytes_
                if source != node:
                    leaving[source] += bytes_
            for old in sources[shard.pipeline]:
                if holders[old] != gpu:
                    pair = old, shard.pipeline
                    sent[holders[old] // size, node] += kept[pair] * cell.share
                    moved[pair] += cell.share
    return Traffic(dict(sent), moved)


def _cells(shape: Shape, shard: _Shard, before: Placed | None) -> Iterator[Cell]:
    """Yield the parts of a shard that are each within one shard of the placement before."""
    old = Shape(1, 1) if before is None else before.configuration.shape
    layers = _cuts(Fraction(shard.stage, shape.stages), Fraction(shard.stage + 1, shape.stages), old.stages)
    ranks = _cuts(Fraction(shard.rank, shape.tensor), Fraction(shard.rank + 1, shape.tensor), old.tensor)
    for layer, layers_end in pairwise(layers):
        for rank, ranks_end in pairwise(ranks):
            yield Cell(layer, rank, float((layers_end - layer) * (ranks_end - rank)))


def _cuts(low: Fraction, high: Fraction, parts: int) -> list[Fraction]:
    inside = [Fraction(part, parts) for part in range(1, parts) if low < Fraction(part, parts) < high]
    return [low, *inside, high]


def _holders(placed: Placed, cell: Cell) -> list[int]:
    """Return the GPU that holds a part in each pipeline."""
    pipelines, (stages, tensor), _ = placed.configuration
    at = int(cell.layer * stages) * tensor + int(cell.rank * tensor)
    return [placed.gpus[pipeline * stages * tensor + at] for pipeline in range(pipelines)]
