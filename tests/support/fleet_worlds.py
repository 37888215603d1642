"""Random worlds whose instances crash, slow down, lose their links, leave with notice, and are started and drained."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st
from support.worlds import COSTS, ITERATION_PS, InstanceSetup, Outcome, workloads

from simulator.cluster.autoscaling import Scaling
from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.faults import Fault, FaultEvent, Faults, RandomFaults
from simulator.cluster.fleet import Fleet, Loss
from simulator.cluster.migration import Copying
from simulator.cluster.registry import AUTOSCALERS, ROUTERS
from simulator.cluster.topology import Place, Topology
from simulator.core import Streams
from simulator.engine.core import EngineCore
from simulator.engine.host_memory import HostMemory
from simulator.engine.ledger import Ledger
from simulator.workload.table import Workload

_ADOPTING = ["vllm", "vllm_v0"]
_AUTOSCALERS: list[tuple[str, dict[str, Any]]] = [
    ("target_utilization", {"target": 0.5}),
    ("queue", {"most_waiting": 1.0}),
    ("slo", {"attainment": 0.9, "ttft": "20ms"}),
    ("schedule", {"plan": [{"at": "0s", "instances": 2}, {"at": "50ms", "instances": 1}], "repeats_after": "100ms"}),
]


@dataclass(frozen=True)
class FleetWorld:
    """A workload, instances, what goes wrong with them, and an autoscaler (or None) with its first number."""

    workload: Workload
    instances: tuple[InstanceSetup, ...]
    router: str
    faults: tuple[FaultEvent, ...]
    mtbf_s: float | None
    in_flight: str
    retries: int | None
    noticed_after: int
    autoscaler: tuple[str, dict[str, Any]] | None
    initial: int | None
    startup_ps: int
    seed: int

    def front(self) -> Fleet:
        copying = None
        if self.in_flight == "migrate":
            places = [Place(1, 1e8, 3e7)] * len(self.instances)
            copying = Copying(Topology(places, 2, ITERATION_PS // 3), 1e3, 2, 3)
        loss = Loss(self.in_flight, self.retries, self.noticed_after, copying)  # type: ignore[arg-type]
        crash = RandomFaults(Fault("crash", 5 * ITERATION_PS), self.mtbf_s or 0.0)
        drivers: list[Any] = [Faults(self.faults, [crash] if self.mtbf_s else [], self.seed)]
        if self.autoscaler is not None:
            policy = AUTOSCALERS.make(*self.autoscaler)
            drivers.append(Scaling(policy, period=9 * ITERATION_PS + 11, startup=self.startup_ps, least=1,
                                   most=len(self.instances), calm=10 * ITERATION_PS))  # fmt: skip
        return Fleet(ROUTERS.make(self.router, {}), loss, drivers, initial=self.initial)


def server(setup: InstanceSetup, by_content: bool, away: Callable[[], int]) -> Server:
    """Return a server that can be made anew."""

    def fresh(ledger: Ledger) -> EngineCore:
        kv, policy = setup.pool(by_content), setup.policy_object()
        policy.away = away  # type: ignore[attr-defined]
        host = HostMemory(kv, setup.host_tokens // setup.block_size, ps_per_token=ITERATION_PS // 50)
        return EngineCore(kv, policy, ledger, setup.max_model_len, host=host)

    name, arguments = setup.cost
    return Server(fresh(Ledger()), COSTS[name](*arguments), setup.admission_lag, setup.intake_ps, fresh)


def simulate_fleet(
    world: FleetWorld, *, exact_steps: bool = False, watch: Callable[[Cluster], Any] | None = None
) -> tuple[Outcome, Cluster, Fleet]:
    """Run a world to its end; ``watch`` sees the cluster before every event."""
    front = world.front()

    def away(index: int) -> int:
        """Return the blocks at an instance of those that are leaving it or coming to it."""
        if not front.evacuation:
            return 0
        moving = front.evacuation.moving.values()
        coming = sum(each.held for each in moving if each.target.index == index)
        return coming + sum(each.request.blocks for each in moving if each.source.index == index and each.stopped)

    by_content = world.workload.prefix is not None
    servers = [server(setup, by_content, partial(away, index)) for index, setup in enumerate(world.instances)]
    cluster = Cluster(servers, front, world.workload, Streams(0).get("router"), exact_steps=exact_steps)
    while cluster.clock.agenda:
        cluster.clock.step()
        if watch is not None:
            watch(cluster)
    return Outcome(cluster.requests, servers, cluster.ended), cluster, front


@st.composite
def fleet_worlds(draw: st.DrawFn, *, scaled: bool | None = None) -> FleetWorld:
    """Draw a world of one to four instances; a seed says what goes wrong with which, and when."""
    workload = draw(workloads(most=30))
    block_size, slots = draw(st.sampled_from([1, 8, 16])), draw(st.integers(1, 10))
    tokens = draw(st.sampled_from([400, 320, 1000, 8000, 60]))
    in_flight = draw(st.sampled_from(["retry", "resume", "migrate", "fail"]))
    policies = [*_ADOPTING, "sarathi", "mlfq", "sjf", "lightllm"]
    if in_flight == "migrate":
        policies = _ADOPTING
    elif in_flight != "resume":
        policies += ["static", "trtllm"]
    router = draw(st.sampled_from(["least_outstanding", "freeness", "round_robin", "power_of_two", "random",
                                   "join_shortest_queue", "least_kv", "session_affinity"]))  # fmt: skip
    if router == "freeness":
        policies = _ADOPTING
    setup = InstanceSetup(
        scheduler=draw(st.sampled_from(policies)),
        max_num_seqs=slots,
        max_num_batched_tokens=slots + draw(st.sampled_from([500, 0, 7, 40])),
        policy=draw(st.sampled_from(["fcfs", "priority"])),
        blocks=tokens // block_size,
        block_size=block_size,
        caching=draw(st.booleans()),
        max_model_len=4096,
        cost=draw(st.sampled_from([("measured", ()), ("fixed", (ITERATION_PS,)), ("knotty", (50, 50, (0, 70_000)))])),
        admission_lag=draw(st.sampled_from([0, 1])),
        host_tokens=draw(st.sampled_from([0, 10_000])),
        preemption=draw(st.sampled_from(["recompute", "swap"])),
        intake_ps=draw(st.sampled_from([0, 0, 3 * ITERATION_PS + 7])),
    )
    other = replace(setup, scheduler=draw(st.sampled_from(policies)), blocks=setup.blocks + draw(st.integers(0, 9)))
    kinds = (setup,) * draw(st.integers(1, 2)) + (other,) * draw(st.integers(0, 2))
    scales = draw(st.booleans()) if scaled is None else scaled
    seed = draw(st.integers(0, 2**32 - 1))
    return FleetWorld(
        workload,
        kinds,
        router,
        _faults(np.random.default_rng(seed), draw(st.integers(0, 8)), len(kinds)),
        draw(st.sampled_from([None, None, 0.03, 0.3])) if in_flight == "fail" else None,
        in_flight,
        draw(st.sampled_from([None, 0, 1, 3])),
        draw(st.sampled_from([0, 0, 4 * ITERATION_PS + 5])),
        draw(st.sampled_from(_AUTOSCALERS)) if scales else None,
        draw(st.integers(1, len(kinds))) if scales else None,
        draw(st.sampled_from([0, 1, 20 * ITERATION_PS])),
        seed,
    )


def _faults(rng: np.random.Generator, count: int, instances: int) -> tuple[FaultEvent, ...]:
    """Draw faults, half of them at whole iterations, so that they meet the ends of iterations."""

    def span(most: int) -> int:
        return int(rng.integers(0, most)) * (ITERATION_PS if rng.random() < 0.5 else 777_777_777)

    def fault() -> Fault:
        lasts = span(60) + 1 if rng.random() < 0.8 else None
        match rng.integers(4):
            case 0:
                return Fault("crash", lasts)
            case 1:
                return Fault("slow", lasts or 1, factor=float(rng.choice([0.5, 1.5, 3.0])))
            case 2:
                return Fault("link_loss", lasts or 1)
            case _:
                return Fault("spot", lasts, grace=span(20))

    return tuple(FaultEvent(span(200), int(rng.integers(instances)), fault()) for _ in range(count))
