"""DistServe's placement search: how many GPUs, split how, for prefill and for decode.

Source: Zhong et al., DistServe, OSDI 2024, section 4, algorithms 1 and 2. A phase's goodput, the highest rate at which
enough requests keep its limit, is found by simulating it alone, with bisection over the rate.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import NamedTuple

import numpy as np

from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.disaggregated import Disaggregated
from simulator.cluster.front import Front
from simulator.cluster.handover import Handover, KVShape
from simulator.cluster.registry import ROUTERS
from simulator.cluster.router import Router
from simulator.cluster.topology import Place, Topology
from simulator.core import PS_PER_MS, InputError, Streams
from simulator.cost.base import FixedCost
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.experiment.assemble import assemble
from simulator.experiment.metrics import RequestTable
from simulator.experiment.planning.bisect import highest_rate
from simulator.experiment.schema import Experiment
from simulator.scheduling.registry import SCHEDULERS
from simulator.workload.table import Workload
from simulator.workload.transforms import scale_rate


class Parallel(NamedTuple):
    """How an instance is spread: ``tensor`` GPUs a layer, ``pipeline`` stages of layers."""

    tensor: int
    pipeline: int

    @property
    def gpus(self) -> int:
        """GPUs of an instance."""
        return self.tensor * self.pipeline


class Phase(NamedTuple):
    """One phase on instances of a kind: the requests a second that one of them serves, and how many are needed."""

    parallel: Parallel
    goodput: float
    instances: int


class Placement(NamedTuple):
    """Instances for both phases."""

    prefill: Phase
    decode: Phase

    @property
    def gpus(self) -> int:
        """GPUs of all instances."""
        return sum(phase.parallel.gpus * phase.instances for phase in self)

    @property
    def goodput_per_gpu(self) -> float:
        """Requests a second for each GPU, with as many instances of both as the rate needs, in fractions."""
        return 1 / sum(phase.parallel.gpus / phase.goodput for phase in self)


def high_affinity(
    candidates: Iterable[Parallel],
    prefill_goodput: Callable[[Parallel], float],
    decode_goodput: Callable[[Parallel], float],
    rate: float,
) -> Placement:
    """Return the placement with the most goodput per GPU where KV travels fast between all nodes (algorithm 1).

    Each phase gets the kind of instance that is best for it alone, and as many as the rate (requests/s) needs.
    InputError if a phase keeps its limits with none.
    """
    candidates = list(candidates)
    phases = []
    for name, goodput_of in (("prefill", prefill_goodput), ("decode", decode_goodput)):
        found = [(goodput_of(parallel), parallel) for parallel in candidates]
        goodput, parallel = max(found, key=lambda each: (each[0] / each[1].gpus, -each[1].gpus), default=(0.0, None))
        if parallel is None or not goodput > 0:
            raise InputError(f"no instance keeps the {name} limit", hint="a looser limit, or more GPUs an instance")
        phases.append(Phase(parallel, goodput, ceil(rate / goodput)))
    return Placement(*phases)


def low_affinity(
    candidates: Iterable[Parallel],
    gpus_per_node: int,
    joint_goodput: Callable[[Parallel, Parallel], float],
    rate: float,
) -> Placement:
    """Return the placement with the most goodput per GPU where KV travels fast within nodes only (algorithm 2).

    Both phases have the same stages of layers, and the GPUs of a stage, of either phase, share a node; so pairs of
    instances are simulated together and replicated. InputError if no pair fits a node or keeps the limits.
    """
    candidates = list(candidates)
    pairs = [
        (prefill, decode)
        for prefill in candidates
        for decode in candidates
        if prefill.pipeline == decode.pipeline and prefill.tensor + decode.tensor <= gpus_per_node
    ]
    found = [(joint_goodput(*pair), *pair) for pair in pairs]
    best = max(found, key=lambda each: (each[0] / (each[1].gpus + each[2].gpus), -each[1].gpus), default=None)
    if best is None or not best[0] > 0:
        raise InputError("no pair of instances keeps the limits within a node", hint="looser limits or larger nodes")
    goodput, prefill, decode = best
    count = ceil(rate / goodput)
    return Placement(Phase(prefill, goodput, count), Phase(decode, goodput, count))


@dataclass(frozen=True)
class PhaseSearch:
    """Finds goodputs by simulation.

    ``server`` makes an instance of a kind, None where the model does not fit; ``workload`` is replayed faster or slower
    (its mean rate is 1 at the start of a search); ``attainment``: the share of requests that must keep ``ttft_s``, in a
    simulation of prefill alone, or ``tpot_s``, in one of decode alone. Precision: 3 % of the rate.
    """

    server: Callable[[Parallel], Server | None]
    workload: Workload
    ttft_s: float
    tpot_s: float
    attainment: float = 0.9

    def prefill(self, parallel: Parallel) -> float:
        """Return the goodput of a prefill instance: requests end with their first token."""
        prompts = replace(self.workload, output_tokens=np.ones_like(self.workload.output_tokens))
        return self._goodput(lambda rate: self._prompts_attained(parallel, prompts, rate), parallel)

    def decode(self, parallel: Parallel) -> float:
        """Return the goodput of a decode instance, given requests with their first token as they arrive."""
        return self._goodput(lambda rate: self._outputs_attained(parallel, rate), parallel)

    def joint(self, prefill: Parallel, decode: Parallel, handover: Callable[[], Handover]) -> float:
        """Return the goodput of a prefill and a decode instance together, with KV moved by a handover."""

        def attained(rate: float) -> float:
            servers = [server for server in (self.server(prefill), self.server(decode)) if server is not None]
            table = self._run(servers, _split(handover()), self.workload, rate)
            kept = (table.ttft_ms() <= self.ttft_s * 1e3) & ~(table.tpot_ms() > self.tpot_s * 1e3)
            return float(np.mean(kept & table.completed))

        return self._goodput(attained, prefill, decode)

    def _goodput(self, attained: Callable[[float], float], *parallels: Parallel) -> float:
        if any(self.server(parallel) is None for parallel in parallels):
            return 0.0
        found = highest_rate(
            lambda rate: attained(rate) >= self.attainment, 1.0, precision=0.03, least=_LEAST, most=_MOST
        )
        return found or 0.0

    def _prompts_attained(self, parallel: Parallel, prompts: Workload, rate: float) -> float:
        server = self.server(parallel)
        assert server is not None
        table = self._run([server], ROUTERS.make("round_robin", {}), prompts, rate)
        return float(np.mean((table.ttft_ms() <= self.ttft_s * 1e3) & table.completed))

    def _outputs_attained(self, parallel: Parallel, rate: float) -> float:
        server = self.server(parallel)
        assert server is not None
        free = Handover(Topology([Place(1, inf, inf)] * 2), KVShape(0.0, 1))
        table = self._run([_instant(server), server], _split(free), self.workload, rate)
        return float(np.mean(~(table.tpot_ms() > self.tpot_s * 1e3) & table.completed))

    def _run(self, servers: list[Server], front: Router | Front, workload: Workload, rate: float) -> RequestTable:
        span = int(workload.arrival_ps[-1] - workload.arrival_ps[0]) / 1e12
        faster = scale_rate(workload, rate * span / max(len(workload) - 1, 1))
        cluster = Cluster(servers, front, faster, Streams(0).get("router"))
        cluster.run()
        return RequestTable.of(cluster.requests)


def servers_of(config: Experiment) -> Callable[[Parallel], Server | None]:
    """Return what makes the first kind of instance of an experiment with other parallelism; None if it does not fit."""
    spec = config.cluster.instances[0]

    def server(parallel: Parallel) -> Server | None:
        kind = spec.model_copy(
            update={
                "count": 1,
                "role": "mixed",
                "tensor_parallel": parallel.tensor,
                "pipeline_parallel": parallel.pipeline,
            }
        )
        cluster = config.cluster.model_copy(update={"instances": (kind,), "disaggregation": None})
        try:
            return assemble(config.model_copy(update={"cluster": cluster}), _NO_PREFIXES).servers[0]
        except InputError:
            return None

    return server


def parallelisms(gpus_per_node: int, nodes: int = 1) -> list[Parallel]:
    """Return all kinds of instances that algorithm 1 tries: powers of two within a node, stages over nodes."""
    tensors = [2**power for power in range(gpus_per_node.bit_length()) if 2**power <= gpus_per_node]
    return [
        Parallel(tensor, pipeline)
        for tensor in tensors
        for pipeline in range(1, gpus_per_node * nodes // tensor + 1)
        if pipeline & (pipeline - 1) == 0
    ]


def _split(handover: Handover) -> Disaggregated:
    return Disaggregated([0], [1], ROUTERS.make("round_robin", {}), ROUTERS.make("round_robin", {}), handover)


def _instant(like: Server) -> Server:
    """Return a server that computes any prompt at once, for requests that another may hold."""
    size = like.core.kv.block_size
    scheduler = SCHEDULERS.make("vllm", {"max_num_seqs": _PLENTY, "max_num_batched_tokens": _PLENTY})
    core = EngineCore(CountingPool(_PLENTY, size, reuse=False), scheduler, Ledger(), like.core.max_model_len)
    return Server(core, FixedCost(PS_PER_MS // 10**6))


_LEAST, _MOST = 0.01, 10_000.0
_PLENTY = 2**40
_EMPTY = np.empty(0, np.int64)
_NO_PREFIXES = Workload("none", "placement search", _EMPTY, _EMPTY, _EMPTY)
