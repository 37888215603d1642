"""Random worlds whose instances lend each other KV memory: some requests are larger than one instance's."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st
from support.worlds import ITERATION_PS, InstanceSetup, Outcome, table, workloads

from simulator.cluster.cluster import Cluster
from simulator.cluster.infinite_llm import InfiniteLLM
from simulator.cluster.registry import ROUTERS
from simulator.cluster.topology import Place, Topology
from simulator.core import Streams
from simulator.workload.table import Workload


@dataclass(frozen=True)
class LendingWorld:
    """A workload and instances of one block size; a token's KV is 1,000 bytes."""

    workload: Workload
    instances: tuple[InstanceSetup, ...]
    router: str
    bandwidth: float
    message_ps: int
    spare: float
    keep: float

    def front(self) -> InfiniteLLM:
        topology = Topology([Place(1, self.bandwidth, None)] * len(self.instances))
        router = ROUTERS.make(self.router, {})
        return InfiniteLLM(router, topology, 1e3, period=5 * ITERATION_PS + 13, message_ps=self.message_ps,
                           spare=self.spare, keep=self.keep)  # fmt: skip


def simulate_lending(
    world: LendingWorld, *, exact_steps: bool = False, watch: Callable[[Cluster], Any] | None = None
) -> tuple[Outcome, InfiniteLLM, Cluster]:
    """Run a world to its end; ``watch`` sees the cluster before every event."""
    servers = [setup.server(by_content=False) for setup in world.instances]
    front = world.front()
    for index, server in enumerate(servers):
        server.core.scheduler.away = partial(front_blocks, front, index)
    cluster = Cluster(servers, front, world.workload, Streams(0).get("router"), exact_steps=exact_steps)
    if watch is None:
        cluster.run()
    else:
        while cluster.clock.agenda:
            cluster.clock.step()
            watch(cluster)
    return Outcome(cluster.requests, servers, cluster.ended), front, cluster


def front_blocks(front: InfiniteLLM, index: int) -> int:
    """Return the blocks that an instance holds for others."""
    return sum(loan.blocks for loan in front.loans if loan.creditor.index == index and loan.taken)


@st.composite
def lending_worlds(draw: st.DrawFn) -> LendingWorld:
    """Draw a world in which one request in ten or so needs more memory than its instance has."""
    small = draw(workloads(prefixes=False))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    block_size, slots = draw(st.sampled_from([1, 8, 16])), draw(st.integers(1, 10))
    tokens = draw(st.sampled_from([320, 400, 1000]))
    prompt = np.where(rng.random(len(small)) < draw(st.sampled_from([0.0, 0.1, 0.4])),
                      rng.integers(tokens // 2, 2 * tokens, len(small)), small.prompt_tokens)  # fmt: skip
    workload = table(list(zip(small.arrival_ps, prompt, small.output_tokens, strict=True)),
                     closed_loop=small.closed_loop)  # fmt: skip
    cost = draw(st.sampled_from([("measured", ()), ("fixed", (ITERATION_PS,)), ("knotty", (50, 50, (0, 70_000)))]))
    setup = InstanceSetup(
        scheduler=draw(st.sampled_from(["vllm", "vllm_v0"])),
        max_num_seqs=slots,
        max_num_batched_tokens=slots + draw(st.sampled_from([5000, 500, 40])),
        policy="fcfs",
        blocks=tokens // block_size,
        block_size=block_size,
        caching=draw(st.booleans()),
        max_model_len=4096,
        cost=cost,
        admission_lag=draw(st.sampled_from([0, 1])),
        intake_ps=draw(st.sampled_from([0, 0, 3 * ITERATION_PS + 7])),
    )
    other = replace(setup, blocks=setup.blocks + draw(st.integers(0, 9)))
    return LendingWorld(
        workload,
        (setup,) * draw(st.integers(1, 2)) + (other,) * draw(st.integers(1, 2)),
        draw(st.sampled_from(["freeness", "least_outstanding", "round_robin"])),
        draw(st.sampled_from([1e8, 1e6, float("inf")])),
        draw(st.sampled_from([0, 12_345])),
        draw(st.sampled_from([0.05, 0.0, 0.3])),
        draw(st.sampled_from([0.2, 0.0, 0.5])),
    )
