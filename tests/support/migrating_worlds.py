"""Random worlds whose requests migrate: a workload, instances, links, and who chooses whom to move."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st
from support.worlds import ITERATION_PS, InstanceSetup, Outcome, workloads

from simulator.cluster.cluster import Cluster
from simulator.cluster.front import RouterFront
from simulator.cluster.llumnix import Llumnix
from simulator.cluster.migration import Copying, Migration
from simulator.cluster.moves import Move
from simulator.cluster.registry import ROUTERS
from simulator.cluster.router import Router
from simulator.cluster.topology import Place, Topology
from simulator.cluster.virtual_usage import VirtualUsage
from simulator.core import Streams
from simulator.engine.instance import Instance
from simulator.workload.table import Workload

_ADOPTING = ["vllm", "vllm_v0"]


class Mover(RouterFront):
    """Migrates any request from anywhere to anywhere, several at once."""

    def __init__(self, router: Router, copying: Copying, period: int, seed: int) -> None:
        super().__init__(router)
        self.copying, self.period, self.rng = copying, period, np.random.default_rng(seed)
        self.active: dict[Migration, None] = {}
        self.given_up = 0

    def start(self, cluster: Cluster) -> None:
        super().start(cluster)
        cluster.every(self.period, self.tick)

    def tick(self, now: int) -> None:
        instances = self.cluster.instances
        source, target = (instances[at] for at in self.rng.integers(0, len(instances), 2))
        if source is not target:
            source.at_boundary(partial(self.pick, source, target, self.rng.random()))

    def pick(self, source: Instance, target: Instance, which: float) -> None:
        moving = {migration.request for migration in self.active}
        most = target.core.most_tokens
        free = [r for r in source.core.decodes if r not in moving and r.prompt_tokens + r.output_tokens <= most]
        if free:
            request = free[int(which * len(free))]
            self.active[Migration(self.cluster, self.copying, request, source, target, self.done)] = None

    def done(self, migration: Migration, moved: bool) -> None:
        del self.active[migration]
        if moved:
            self.router.moved(migration.source.index, migration.target.index, migration.request)
        else:
            self.given_up += 1


@dataclass(frozen=True)
class MigratingWorld:
    """A workload, instances, and who moves requests between them; a token's KV is 1,000 bytes."""

    workload: Workload
    instances: tuple[InstanceSetup, ...]
    router: str
    mover: Literal["anybody", "llumnix"]
    bandwidth: float
    latency_ps: int
    last_blocks: int
    stages: int
    threshold: float
    seed: int

    def front(self) -> Mover | Llumnix:
        topology = Topology([Place(1, self.bandwidth, self.bandwidth / 3)] * len(self.instances), 2, self.latency_ps)
        copying = Copying(topology, 1e3, self.last_blocks, self.stages)
        router, period = ROUTERS.make(self.router, {}), 5 * ITERATION_PS + 13
        if self.mover == "anybody":
            return Mover(router, copying, period, self.seed)
        return Llumnix(router, copying, VirtualUsage(0, 60), period=period, threshold=self.threshold)


def away(front: Mover | Llumnix, index: int) -> int:
    """Return the blocks at an instance of requests that are coming to it, or left its batch to go elsewhere."""
    coming = sum(migration.held for migration in front.active if migration.target.index == index)
    gone = (m.request.blocks for m in front.active if m.source.index == index and m.stopped)
    return coming + sum(gone)


def simulate_migrating(
    world: MigratingWorld,
    *,
    exact_steps: bool = False,
    watch: Callable[[Cluster], Any] | None = None,
    front: Mover | Llumnix | None = None,
) -> tuple[Outcome, list[Move], Mover | Llumnix]:
    """Run a world to its end; ``watch`` sees the cluster before every event."""
    servers = [setup.server(world.workload.prefix is not None) for setup in world.instances]
    front = front or world.front()
    for index, server in enumerate(servers):
        server.core.scheduler.away = partial(away, front, index)
    cluster = Cluster(servers, front, world.workload, Streams(0).get("router"), exact_steps=exact_steps)
    if watch is None:
        cluster.run()
    else:
        while cluster.clock.agenda:
            cluster.clock.step()
            watch(cluster)
    return Outcome(cluster.requests, servers, cluster.ended), cluster.moves, front


@st.composite
def migrating_worlds(draw: st.DrawFn, *, mover: str | None = None) -> MigratingWorld:
    """Draw a world: memory from too small to ample, links from slower than the engine to instant."""
    workload = draw(workloads())
    block_size, slots = draw(st.sampled_from([1, 8, 16])), draw(st.integers(1, 10))
    tokens = draw(st.sampled_from([400, 320, 350, 1000, 8000]))
    cost = draw(st.sampled_from([("measured", ()), ("fixed", (ITERATION_PS,)), ("knotty", (50, 50, (0, 70_000)))]))
    setup = InstanceSetup(
        scheduler=draw(st.sampled_from(_ADOPTING)),
        max_num_seqs=slots,
        max_num_batched_tokens=slots + draw(st.sampled_from([500, 0, 7, 40])),
        policy=draw(st.sampled_from(["fcfs", "priority"])),
        blocks=tokens // block_size,
        block_size=block_size,
        caching=draw(st.booleans()),
        max_model_len=4096,
        cost=cost,
        admission_lag=draw(st.sampled_from([0, 1])),
        host_tokens=draw(st.sampled_from([0, 10_000])),
        preemption=draw(st.sampled_from(["recompute", "swap"])),
        intake_ps=draw(st.sampled_from([0, 0, 3 * ITERATION_PS + 7])),
    )
    other = replace(setup, scheduler=draw(st.sampled_from(_ADOPTING)), blocks=setup.blocks + draw(st.integers(0, 9)))
    return MigratingWorld(
        workload,
        (setup,) * draw(st.integers(1, 2)) + (other,) * draw(st.integers(1, 2)),
        draw(st.sampled_from(["freeness", "least_outstanding", "least_kv", "power_of_two", "round_robin"])),
        mover or draw(st.sampled_from(["anybody", "llumnix"])),
        draw(st.sampled_from([1e8, 1e9, 1e6, 1e5, float("inf")])),
        draw(st.sampled_from([0, 0, ITERATION_PS // 3])),
        draw(st.sampled_from([2, 1, 16])),
        draw(st.sampled_from([3, 1])),
        draw(st.sampled_from([3.0, 8.0, 40.0])),
        draw(st.integers(0, 99)),
    )
