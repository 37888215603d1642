"""Random worlds on spot nodes, which leave with notice and come, served by one of the three systems."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st
from support.watched import watched
from support.worlds import ITERATION_PS, InstanceSetup, Outcome, fixed, measured, workloads

from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.reparallelise import Option, Shape
from simulator.cluster.rerouting import Rerouting
from simulator.cluster.spot import Change, Layout, Nodes, Spot
from simulator.cluster.spotserve import SpotServe
from simulator.core import Streams
from simulator.cost.base import CostModel
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import KVPool
from simulator.engine.ledger import Ledger
from simulator.workload.table import Workload

System = Literal["spotserve", "reparallelization", "rerouting"]
SLOTS = 4


@dataclass(frozen=True)
class SpotWorld:
    """A workload, pipelines of three shapes, and when nodes of two GPUs leave and come."""

    workload: Workload
    instance: InstanceSetup
    system: System
    nodes: int
    changes: tuple[Change, ...]
    grace: int
    bandwidth: float
    rate: float | None

    def layouts(self, pools: list[KVPool]) -> list[Layout]:
        """Return pipelines of one node, of two nodes in stages, and of two nodes by tensor ranks."""

        def layout(shape: Shape, cost: CostModel) -> Layout:
            def fresh(ledger: Ledger, batch: int) -> EngineCore:
                setup = replace(self.instance, max_num_seqs=batch)
                pools.append(pool := setup.pool(by_content=False))
                return EngineCore(pool, _policy(setup), ledger, setup.max_model_len)

            return Layout(shape, cost, fresh, ITERATION_PS)

        return [
            layout(Shape(1, 2), fixed(ITERATION_PS)),
            layout(Shape(2, 2), fixed(ITERATION_PS * 6 // 10)),
            layout(Shape(1, 4), measured()),
        ]

    def front(self, layouts: list[Layout]) -> Spot:
        nodes = Nodes(2, self.bandwidth, 2 * self.bandwidth, self.bandwidth / 3)
        common = layouts, nodes, self.nodes, self.changes, self.grace
        if self.system == "rerouting":
            return Rerouting(*common, shape=Shape(1, 2), batch=4, weights=1e7, restart=3 * ITERATION_PS)
        options = [
            Option(each.shape, batch, seconds * (1 + batch / 8))
            for each, seconds in zip(layouts, (0.1, 0.06, 0.05), strict=True)
            for batch in (1, 4, 8)
        ]
        return SpotServe(
            *common,
            options=options,
            weights=1e7,
            token_bytes=1e3,
            rate=self.rate,
            cv=2.0,
            window=25 * ITERATION_PS,
            restarts=self.system == "reparallelization",
            restart=3 * ITERATION_PS,
        )


def _policy(setup: InstanceSetup) -> Any:
    return watched(
        setup.scheduler,
        {"max_num_seqs": setup.max_num_seqs, "max_num_batched_tokens": setup.max_num_batched_tokens},
    )


def simulate_spot(
    world: SpotWorld, *, exact_steps: bool = False, watch: Callable[[Cluster, Spot], Any] | None = None
) -> tuple[Outcome, Cluster, Spot, list[KVPool]]:
    """Run a world to its end; the pools are those of all engines that there ever were."""
    pools: list[KVPool] = []
    layouts = world.layouts(pools)
    front = world.front(layouts)
    servers = [Server(layouts[0].fresh(Ledger(), 1), layouts[0].cost, world.instance.admission_lag)
               for _ in range(SLOTS)]  # fmt: skip
    cluster = Cluster(servers, front, world.workload, Streams(0).get("router"), exact_steps=exact_steps)
    while cluster.clock.agenda:
        cluster.clock.step()
        if watch is not None:
            watch(cluster, front)
    return Outcome(cluster.requests, servers, cluster.ended), cluster, front, pools


@st.composite
def spot_worlds(draw: st.DrawFn) -> SpotWorld:
    """Draw a world; a seed says which nodes leave and come, and when, half of them at whole iterations."""
    workload = draw(workloads(prefixes=False, most=30))
    block_size = draw(st.sampled_from([1, 8, 16]))
    instance = InstanceSetup(
        scheduler=draw(st.sampled_from(["whole_batches", "vllm"])),
        max_num_seqs=8,
        max_num_batched_tokens=draw(st.sampled_from([508, 8, 48])),
        policy="fcfs",
        blocks=draw(st.sampled_from([320, 400, 2000, 8000])) // block_size,
        block_size=block_size,
        caching=draw(st.booleans()),
        max_model_len=4096,
        cost=("measured", ()),
        admission_lag=draw(st.sampled_from([0, 1])),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    nodes = draw(st.integers(0, 4))
    return SpotWorld(
        workload,
        instance,
        draw(st.sampled_from(["spotserve", "reparallelization", "rerouting"])),
        nodes,
        _changes(rng, nodes, draw(st.integers(0, 12))),
        draw(st.sampled_from([0, 7 * ITERATION_PS, 40 * ITERATION_PS])),
        draw(st.sampled_from([1e12, 3e9, 3e8])),
        draw(st.sampled_from([None, 60.0])),
    )


def _changes(rng: np.random.Generator, nodes: int, count: int) -> tuple[Change, ...]:
    present, fresh, at, changes = list(range(nodes)), nodes, 0, list[Change]()
    for _ in range(count):
        at += int(rng.integers(0, 60)) * (ITERATION_PS if rng.random() < 0.5 else 777_777_777)
        if present and rng.random() < 0.55:
            changes.append(Change(at, present.pop(int(rng.integers(len(present)))), comes=False))
        else:
            changes.append(Change(at, fresh, comes=True))
            present.append(fresh)
            fresh += 1
    return tuple(changes)
