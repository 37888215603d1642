"""From an experiment's configuration to a cluster of servers ready to run."""

from dataclasses import dataclass
from typing import Any

from simulator.cluster.cluster import Server
from simulator.cluster.registry import ROUTERS
from simulator.cluster.router import Router
from simulator.core import InputError
from simulator.cost.kv_memory import kv_blocks
from simulator.cost.roofline import RooflineCost
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool, KVPool
from simulator.engine.ledger import Ledger
from simulator.engine.prefix_pool import PrefixPool
from simulator.experiment.schema import Experiment, InstanceSpec
from simulator.hardware.registry import load_profile
from simulator.model.registry import load_model
from simulator.model.transformer import Transformer
from simulator.scheduling.registry import SCHEDULERS
from simulator.workload.table import Workload


@dataclass(frozen=True)
class Assembly:
    """Servers and router of one run; ``kinds`` describes each entry of ``cluster.instances`` for the results."""

    servers: list[Server]
    router: Router
    gpus: int
    kinds: list[dict[str, Any]]
    coverage: dict[str, Any]


def assemble(config: Experiment, workload: Workload) -> Assembly:
    """Return everything of a run but its clock; InputError names the key of what does not fit together."""
    model = load_model(config.model)
    servers: list[Server] = []
    kinds, coverage = [], {}
    for position, spec in enumerate(config.cluster.instances):
        try:
            kind = _Kind(spec, model, shares_prefixes=workload.prefix is not None)
        except InputError as error:
            where = f"cluster.instances[{position}]"
            raise InputError(error.message, where=error.where or where, hint=error.hint) from None
        servers += [kind.server() for _ in range(spec.count)]
        kinds.append(kind.describe(position))
        coverage[kinds[-1]["name"]] = kind.cost.coverage()
    router = ROUTERS.make(config.cluster.router.name, config.cluster.router.params)
    gpus = sum(spec.count * spec.tensor_parallel for spec in config.cluster.instances)
    return Assembly(servers, router, gpus, kinds, coverage)


class _Kind:
    """One kind of instance: what its servers share (the cost model) and how to make one."""

    def __init__(self, spec: InstanceSpec, model: Transformer, *, shares_prefixes: bool) -> None:
        profile = load_profile(spec.hardware)
        self.spec = spec
        self.profile = profile.name
        self.cost = RooflineCost(model, profile, spec.tensor_parallel)
        if spec.kv_blocks == "auto":
            self.blocks = kv_blocks(model, profile, spec.tensor_parallel, spec.block_size, spec.gpu_memory_utilization)
        else:
            self.blocks = spec.kv_blocks
        self.max_model_len = model.max_model_len if spec.max_model_len == "auto" else spec.max_model_len
        self._by_content = spec.prefix_caching and shares_prefixes

    def server(self) -> Server:
        """Return a new server of this kind."""
        spec, kv = self.spec, self._pool()
        scheduler = SCHEDULERS.make(spec.scheduler.name, spec.scheduler.params)
        return Server(EngineCore(kv, scheduler, Ledger(), self.max_model_len), self.cost)

    def _pool(self) -> KVPool:
        # Without common prefixes no block is ever found by its content, and counting is exact.
        if self._by_content:
            return PrefixPool(self.blocks, self.spec.block_size)
        return CountingPool(self.blocks, self.spec.block_size, reuse=self.spec.prefix_caching)

    def describe(self, position: int) -> dict[str, Any]:
        """Return this kind's line in the results."""
        spec = self.spec
        return {
            "name": f"{position}: {self.profile} x{spec.tensor_parallel} {spec.scheduler.name}",
            "count": spec.count,
            "hardware": self.profile,
            "tensor_parallel": spec.tensor_parallel,
            "scheduler": spec.scheduler.name,
            "kv_blocks": self.blocks,
            "block_size": spec.block_size,
            "max_model_len": self.max_model_len,
        }
