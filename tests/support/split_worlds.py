"""Random worlds that split prefill and decode: a workload, instances with roles, links, and who chooses among them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from hypothesis import strategies as st
from support.worlds import ITERATION_PS, InstanceSetup, Outcome, workloads

from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.disaggregated import Disaggregated
from simulator.cluster.front import Front
from simulator.cluster.handover import Handover, KVShape
from simulator.cluster.moves import Move
from simulator.cluster.registry import ROUTERS
from simulator.cluster.splitwise import Splitwise
from simulator.cluster.tetriinfer import TetriInfer
from simulator.cluster.topology import Place, Topology
from simulator.core import Request, Streams
from simulator.engine.instance import Instance
from simulator.scheduling.predictors import make_predictor
from simulator.scheduling.registry import SCHEDULERS
from simulator.workload.table import Workload

_ADOPTING = [name for name in SCHEDULERS.names() if SCHEDULERS.get(name).adopts]
_ROUTERS = ["least_outstanding", "least_kv", "join_shortest_queue", "round_robin", "power_of_two"]


class Watched(Handover):
    """A handover that knows who holds blocks where, of those on their way."""

    def start(self, *args: Any) -> None:
        super().start(*args)
        self.left: dict[Request, int] = {}  # where they hold what they had before

    def ask(self, request: Request, source: Instance, target: Instance) -> None:
        self.left[request] = source.index
        super().ask(request, source, target)

    def _received(self, moving: Any, transfer: Any) -> None:
        del self.left[moving.request]
        super()._received(moving, transfer)

    def blocks_at(self, index: int) -> int:
        """Return the blocks at an instance of those that are leaving it or coming to it."""
        leaving = sum(request.blocks for request, source in self.left.items() if source == index)
        return leaving + sum(self.moving.get(index, {}).values())


@dataclass(frozen=True)
class SplitWorld:
    """A workload and the instances that prefill (the first ``prefill`` of them) and decode; ``system`` chooses."""

    workload: Workload
    instances: tuple[InstanceSetup, ...]
    prefill: int
    system: Literal["routers", "splitwise", "tetriinfer"]
    routers: tuple[str, str]
    admission: Literal["greedy", "reserve_static", "reserve_dynamic"]
    transfer: Literal["whole", "layerwise"]
    mode: Literal["push", "pull"]
    bandwidth: float  # bytes a second; a token's KV is 1,000 bytes
    token_bytes: float
    gpus_per_node: int
    latency_ps: int

    def front(self) -> Front:
        places = [Place(1, self.bandwidth, self.bandwidth / 3)] * len(self.instances)
        topology = Topology(places, self.gpus_per_node, self.latency_ps)
        handover = Watched(topology, KVShape(self.token_bytes, 4), transfer=self.transfer, mode=self.mode)
        prefill = list(range(self.prefill))
        decode = list(range(self.prefill, len(self.instances)))
        if self.system == "splitwise":
            return Splitwise(prefill, decode, handover, max_pending_tokens=200)
        if self.system == "tetriinfer":
            predictor = make_predictor({"kind": "bucketed", "width": 20})
            return TetriInfer(prefill, decode, handover, predictor, admission=self.admission, heavy_prompt=50,
                              heavy_output=40, flip_after_ps=400 * ITERATION_PS)  # fmt: skip
        first, second = (ROUTERS.make(name, {}) for name in self.routers)
        return Disaggregated(prefill, decode, first, second, handover)


def simulate_split(
    world: SplitWorld, *, exact_steps: bool = False, watch: Callable[[Cluster], Any] | None = None
) -> tuple[Outcome, list[Move], Front]:
    """Run a split world to its end; ``watch`` sees the cluster before every event."""
    by_content = world.workload.prefix is not None
    servers: list[Server] = [setup.server(by_content) for setup in world.instances]
    front = world.front()
    handover: Watched = front.handover
    for index, server in enumerate(servers):
        server.core.scheduler.away = partial(handover.blocks_at, index)
    cluster = Cluster(servers, front, world.workload, Streams(0).get("router"), exact_steps=exact_steps)
    if watch is None:
        cluster.run()
    else:
        while cluster.clock.agenda:
            cluster.clock.step()
            watch(cluster)
    return Outcome(cluster.requests, servers, cluster.ended), cluster.moves, front


@st.composite
def split_worlds(draw: st.DrawFn, *, system: str | None = None) -> SplitWorld:
    """Draw a split world: memory from too small to ample, links from slower than the engine to instant."""
    workload = draw(workloads())
    block_size, slots = draw(st.sampled_from([1, 8, 16])), draw(st.integers(1, 10))
    tokens = draw(st.sampled_from([350, 320, 400, 1000, 8000, 60]))
    cost = draw(st.sampled_from([("fixed", (ITERATION_PS,)), ("measured", ()), ("knotty", (50, 50, (0, 70_000)))]))
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
        intake_ps=draw(st.sampled_from([0, 0, 3 * ITERATION_PS + 7])),
    )
    prefill, decode = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    other = replace(setup, scheduler=draw(st.sampled_from(_ADOPTING)), blocks=setup.blocks + draw(st.integers(0, 9)))
    return SplitWorld(
        workload,
        (setup,) * prefill + (other,) * decode,
        prefill,
        system or draw(st.sampled_from(["routers", "splitwise", "tetriinfer"])),
        (draw(st.sampled_from(_ROUTERS)), draw(st.sampled_from(_ROUTERS))),
        draw(st.sampled_from(["greedy", "reserve_static", "reserve_dynamic"])),
        draw(st.sampled_from(["whole", "layerwise"])),
        draw(st.sampled_from(["push", "pull"])),
        draw(st.sampled_from([1e9, 1e6, 1e5, float("inf")])),
        draw(st.sampled_from([1e3, 1e3, 0.0])),
        draw(st.sampled_from([1, 2, 8])),
        draw(st.sampled_from([0, 0, ITERATION_PS // 3])),
    )
