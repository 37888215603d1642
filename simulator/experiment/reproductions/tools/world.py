"""One world of a reproduction: engines with a policy at a published cost, to serve requests in."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.front import Front
from simulator.cluster.registry import ROUTERS
from simulator.cluster.router import Router
from simulator.core import PS_PER_S, InputError, Request, Streams
from simulator.core.quantity import Bandwidth, Size
from simulator.core.request import Status
from simulator.cost.published_fit import CostFit
from simulator.engine.core import EngineCore
from simulator.engine.host_memory import HostMemory
from simulator.engine.kv_pool import CountingPool
from simulator.engine.latencies import InterTokenLatencies
from simulator.engine.ledger import Ledger
from simulator.experiment.metrics import RequestTable
from simulator.experiment.named import Named, Scheduler
from simulator.experiment.named import Router as RouterName
from simulator.scheduling.registry import SCHEDULERS
from simulator.workload.section import Count, Section
from simulator.workload.table import Workload

Float = NDArray[np.float64]
_PLENTY = 2**40  # KV tokens, where memory is no matter


class HostMemorySpec(Section):
    """Memory beyond the GPU's for swapped KV: tokens it holds, bytes each has, and the link's bandwidth."""

    kv_tokens: Count
    kv_bytes_per_token: Size
    link: Bandwidth


class WorldSpec(Section):
    """An engine, how many of it, and the router before them.

    ``cost`` and ``uncalibrated`` name entries of the set-up's ``costs``. ``kv_tokens``: the KV slots of one instance,
    cut to whole blocks; none: memory is no matter.
    """

    scheduler: Scheduler
    cost: str
    uncalibrated: str | None = None
    kv_tokens: Count | None = None
    block_size: Count = 16
    max_model_len: Count
    host_memory: HostMemorySpec | None = None
    instances: Count = 1
    router: RouterName = Field(Named(name="least_outstanding"))


@dataclass(frozen=True)
class World:
    """A world's set-up at one cost; plain content, so that it can travel to another process."""

    spec: WorldSpec
    cost: CostFit

    def server(self) -> Server:
        """Return a new instance's engine."""
        spec = self.spec
        kv = CountingPool((spec.kv_tokens or _PLENTY) // spec.block_size, spec.block_size, reuse=False)
        host = None
        if (memory := spec.host_memory) is not None:
            ps_per_token = round(PS_PER_S * memory.kv_bytes_per_token / memory.link)
            host = HostMemory(kv, memory.kv_tokens // spec.block_size, ps_per_token)
        scheduler = SCHEDULERS.make(spec.scheduler.name, spec.scheduler.params)
        core = EngineCore(kv, scheduler, Ledger(), spec.max_model_len, host=host)
        return Server(core, self.cost.cost_model())

    def serve(self, workload: Workload, seed: int = 0) -> "Served":
        """Serve a workload to its end; ``seed`` is the router's. InputError if a request did not complete."""
        spec = self.spec
        router = ROUTERS.make(spec.router.name, spec.router.params)
        return serve([self.server() for _ in range(spec.instances)], router, workload, seed)


def serve(servers: Sequence[Server], router: Router | Front, workload: Workload, seed: int = 0) -> "Served":
    """Serve a workload to its end on engines of any kind, behind a router or what stands for one; see ``World``."""
    cluster = Cluster(servers, router, workload, Streams(seed).get("router"))
    cluster.run()
    return Served.of(cluster.requests, [server.core.ledger for server in servers], workload)


@dataclass(frozen=True)
class Served:
    """Requests that were served, in the order they were sent, and what the instances ran.

    Latencies are arrays with one entry a request, in seconds.
    """

    requests: Sequence[Request]
    ledgers: Sequence[Ledger]

    @classmethod
    def of(cls, requests: Sequence[Request], ledgers: Sequence[Ledger], workload: Workload) -> "Served":
        """Return what a run gave, after making sure that all of the workload's requests completed."""
        for request in requests:
            if request.status is not Status.COMPLETED:
                raise InputError(f"{request!r} is {request.status.value}: {request.failure or 'nobody ran it'}")
        if len(requests) != len(workload):
            raise InputError(f"{len(workload) - len(requests)} requests were never sent")
        return cls(requests, ledgers)

    @cached_property
    def table(self) -> RequestTable:
        """The requests as columns."""
        return RequestTable.of(self.requests)

    @property
    def ttft_s(self) -> Float:
        """Time to first token."""
        return _seconds(self.table.first_token - self.table.arrival)

    @property
    def e2e_s(self) -> Float:
        """End-to-end latency."""
        return _seconds(self.table.finished - self.table.arrival)

    @property
    def tpot_s(self) -> Float:
        """Time per output token after the first; 0 for outputs of one token."""
        return _seconds(self.table.finished - self.table.first_token) / np.maximum(self.table.output_tokens - 1, 1)

    @property
    def normalised_s(self) -> Float:
        """End-to-end latency per output token, queueing included (as in the papers of Orca, vLLM and FastServe)."""
        return self.e2e_s / self.table.output_tokens

    @property
    def waiting_s(self) -> Float:
        """Time from arrival to the first iteration with the request in it (Sarathi-Serve's scheduling delay)."""
        return _seconds(self.table.admitted - self.table.arrival)

    @property
    def duration_s(self) -> float:
        """Time from the first arrival to the last token."""
        return float(self.table.finished.max() - self.table.arrival.min()) / PS_PER_S

    @property
    def throughput(self) -> float:
        """Requests completed per second, over ``duration_s``."""
        return len(self.requests) / self.duration_s

    @property
    def preemptions(self) -> int:
        """Preemptions of all requests."""
        return int(self.table.preemptions.sum())

    def gap_s(self, percent: float) -> float:
        """Return a percentile of the gaps between consecutive tokens, pooled over all requests."""
        return InterTokenLatencies(self.ledgers).percentile(percent) / PS_PER_S

    def attainment(self, *, ttft_s: float = np.inf, tpot_s: float = np.inf) -> float:
        """Return the share of requests within both limits."""
        return float(np.mean((self.ttft_s <= ttft_s) & (self.tpot_s <= tpot_s)))

    def mean_batch(self) -> float:
        """Return how many requests an instance had in its iterations, averaged over the time in which requests arrive.

        Idle time counts as 0.
        """
        end = int(self.table.arrival.max())
        held = 0.0
        for ledger in self.ledgers:
            start, first, growth, count, decodes, prefills = ledger.runs().T[:6]
            spent = count * first + growth * (count * (count - 1) // 2)
            inside: Any = np.clip(end - start, 0, spent)
            held += float((inside * (decodes + prefills)).sum())
        return held / (end * len(self.ledgers)) if end else 0.0


def _seconds(picoseconds: NDArray[np.int64]) -> Float:
    return np.asarray(picoseconds / PS_PER_S, np.float64)
