"""Queues built from the simulator's parts, and confidence bands over independent seeds."""

from collections.abc import Callable

import numpy as np
from support.worlds import table

from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.registry import ROUTERS
from simulator.core import Request, Streams
from simulator.cost.base import CostModel
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.scheduling.vllm import VLLM
from simulator.workload.table import ClosedLoop, Workload

TOKEN_PS = 10**9
SEEDS = range(20)


def serve(workload: Workload, cost: CostModel, *, slots: int) -> tuple[list[Request], Ledger]:
    """Run a workload on one instance with ample memory; return its requests and ledger."""
    scheduler = VLLM(max_num_seqs=slots, max_num_batched_tokens=max(slots, 8192))
    core = EngineCore(CountingPool(10**6, 16, reuse=False), scheduler, Ledger(), 10**6)
    cluster = Cluster([Server(core, cost)], ROUTERS.make("round_robin", {}), workload, Streams(0).get("router"))
    cluster.run()
    assert all(request.failure is None for request in cluster.requests)
    return cluster.requests, core.ledger


def poisson(seed: int, rate_per_token_time: float, outputs: Callable[[np.random.Generator], np.ndarray]) -> Workload:
    """Return one-token prompts arriving at a rate (per ``TOKEN_PS``), their outputs drawn by a function."""
    rng = np.random.default_rng(seed)
    output = outputs(rng)
    arrival = np.rint(np.cumsum(rng.exponential(TOKEN_PS / rate_per_token_time, len(output)))).astype(np.int64)
    return table(list(zip(arrival, np.ones_like(output), output, strict=True)))


def closed(outputs: np.ndarray, clients: int, think_ps: int) -> Workload:
    """Return one-token prompts of clients that think between requests."""
    rows = [(0, 1, int(output)) for output in outputs]
    return table(rows, closed_loop=ClosedLoop(clients, think_ps))


def settled(requests: list[Request]) -> list[Request]:
    """Return requests without the first tenth, which met an empty system."""
    return requests[len(requests) // 10 :]


def assert_mean(samples: list[float], expected: float, *, within: float) -> None:
    """Assert that the mean over seeds lies within 3 standard errors of a value, and that this band is narrow."""
    mean, error = float(np.mean(samples)), float(np.std(samples, ddof=1) / np.sqrt(len(samples)))
    assert 3 * error <= within * expected, f"the band of {3 * error / expected:.1%} says little"
    assert abs(mean - expected) <= 3 * error, f"{mean:.5g}, expected {expected:.5g} +- {3 * error:.2g}"
