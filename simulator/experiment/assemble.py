"""From an experiment's configuration to a cluster of servers ready to run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulator.cluster.cluster import Server
from simulator.cluster.front import Front
from simulator.cluster.router import Router
from simulator.core import InputError, to_ps
from simulator.cost.base import CostModel
from simulator.cost.build import build_cost, in_blocks
from simulator.cost.kv_memory import Held, kv_blocks
from simulator.cost.parallelism import Parallelism
from simulator.cost.terms import Seen
from simulator.engine.core import EngineCore
from simulator.engine.host_memory import HostMemory
from simulator.engine.kv_pool import CountingPool, KVPool
from simulator.engine.ledger import RUN_COLUMNS, Ledger
from simulator.engine.prefix_pool import PrefixPool
from simulator.experiment.costs import Meter
from simulator.experiment.fronts import front_of
from simulator.experiment.iteration_limits import limits_of, settled
from simulator.experiment.schema import Experiment, InstanceSpec
from simulator.experiment.served import models_of
from simulator.experiment.techniques.base import Parts
from simulator.experiment.techniques.stack import Stack
from simulator.hardware.engine_profile import load_engine
from simulator.hardware.profile import Profile
from simulator.hardware.registry import load_profile
from simulator.model.registry import load_model
from simulator.model.transformer import Transformer
from simulator.scheduling.registry import SCHEDULERS
from simulator.workload.table import Workload


@dataclass(frozen=True)
class Assembly:
    """Servers and router of one run; ``kinds`` describes each entry of ``cluster.instances`` for the results.

    ``meters`` has one entry a server: what its GPUs cost and draw. ``models`` are the names of those that requests ask
    for, by the numbers of ``Workload.model``; empty where all instances serve one. ``notes`` are added to the coverage
    of kinds, by their names.
    """

    servers: list[Server]
    router: Router | Front
    gpus: int
    kinds: list[dict[str, Any]]
    costs: list[CostModel]
    meters: list[Meter]
    models: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    def coverage(self, longest: int) -> dict[str, Any]:
        """Return, by kind, what its times rest on and where the run went beyond what was measured.

        ``longest``: tokens of the longest request, prompt and output.
        """
        found = {
            kind["name"]: cost.coverage(_seen([s for s in self.servers if s.cost is cost], longest))
            for kind, cost in zip(self.kinds, self.costs, strict=True)
        }
        for name, note in self.notes.items():
            found[name]["notes"] = [note, *found[name].get("notes", [])]
        return found


def _seen(servers: list[Server], longest: int) -> Seen:
    """Return the largest iterations of some servers, from their ledgers."""
    tokens = requests = 0
    for server in servers:
        runs = server.core.ledger.runs()
        if len(runs):
            columns = dict(zip(RUN_COLUMNS, runs.T, strict=True))
            tokens = max(tokens, int((columns["decodes"] + columns["prefill_tokens"]).max()))
            requests = max(requests, int((columns["decodes"] + columns["prefills"]).max()))
    return Seen(tokens, requests, longest)


def assemble(config: Experiment, workload: Workload) -> Assembly:
    """Return everything of a run but its clock; InputError names the key of what does not fit together.

    ``workload`` are the requests as they reach the cluster (``techniques.stack.workload_of``).
    """
    techniques = Stack(config)
    config, models = techniques.config(config), models_of(config, techniques, workload)
    model = models.served[0].model
    if config.cluster.spot is not None:
        from simulator.experiment.spot import spot  # here, so that other runs start sooner

        found = spot(config, model, workload, lambda spec: _Kind(spec, model, techniques, workload))
        return Assembly(found.servers, found.front, found.gpus, found.kinds, found.costs, found.meters)
    servers: list[Server] = []
    kinds, costs, meters = [], [], []
    idle, notes = models.idle(workload), dict[str, str]()
    for position, spec in enumerate(config.cluster.instances):
        try:
            own = load_model(spec.model or config.model)
            kind = _Kind(spec, techniques.model(own), techniques, workload)
        except InputError as error:
            where = f"cluster.instances[{position}]"
            raise InputError(error.message, where=error.where or where, hint=error.hint) from None
        servers += [kind.server() for _ in range(spec.count)]
        meters += [kind.meter] * spec.count
        kinds.append(kind.describe(position) | ({"model": own.name} if models.asked or techniques.has_tiers else {}))
        costs.append(kind.cost)
        if own.name in idle:
            notes[kinds[-1]["name"]] = f"no request of the workload asks for {own.name}"
    router = techniques.router(front_of(config.cluster, models, config.seed), config)
    gpus = sum(spec.count * spec.tensor_parallel * spec.pipeline_parallel for spec in config.cluster.instances)
    return Assembly(servers, router, gpus, kinds, costs, meters, models.names, notes)


class _Kind:
    """One kind of instance: what its servers share (the cost model) and how to make one."""

    def __init__(self, spec: InstanceSpec, model: Transformer, techniques: Stack, workload: Workload) -> None:
        gpu, engine = load_profile(spec.hardware), load_engine(spec.engine.name)
        scheduler = settled(spec.scheduler, engine, gpu, server=spec.engine.server)
        spec, profile = spec.model_copy(update={"scheduler": scheduler}), techniques.profile(gpu)
        build = engine.build(spec.engine.version, _chosen(spec.engine.async_scheduling))
        limit = getattr(SCHEDULERS.make(scheduler.name, scheduler.params), "max_num_seqs", None)
        build = techniques.build(build.serving(limit), engine)
        model = model.with_precision(spec.quantization, spec.kv_cache_dtype)
        experts = spec.tensor_parallel if spec.expert_parallel else 1
        self.parallel = Parallelism(spec.tensor_parallel, spec.pipeline_parallel, experts)
        self.spec, self.build = spec, build
        self.profile = profile.name
        self.meter = Meter.of(model, profile, self.parallel.gpus, spec.price)
        self.engine = f"{engine.name} ({build.name})"
        self.block_size = engine.block_size if spec.block_size == "auto" else spec.block_size
        self.host = build.host if spec.engine.server else build.in_process
        parts = Parts(spec, model, profile, engine, build, self.host, self.parallel, workload)
        cost = build_cost(
            model,
            profile,
            engine,
            build,
            self.host,
            self.parallel,
            lambda terms: techniques.terms(terms, parts),
            sampling=spec.sampling,
        )
        self.cost = techniques.cost(cost, parts)
        self._wrapped: Callable[[KVPool], KVPool] = lambda pool: techniques.pool(pool, parts)
        blocks = any(in_blocks(model, kind) for kind in model.kinds)
        self.intake_ps = to_ps(self.host.intake + (self.host.block_intake if blocks else 0.0))
        if spec.kv_blocks == "auto":
            share = spec.gpu_memory_utilization
            share = engine.gpu_memory_utilization if share == "auto" else share
            held = techniques.memory(Held.of(model, self.parallel), parts)
            self.blocks = kv_blocks(model, profile, engine, build, self.parallel, self.block_size, share, held)
        else:
            self.blocks = spec.kv_blocks
        self.max_model_len = model.max_model_len if spec.max_model_len == "auto" else spec.max_model_len
        self.swap_blocks, self.swap_ps = _swap_space(spec, model, profile, self.block_size)
        self._by_content = spec.prefix_caching and workload.prefix is not None

    def server(self) -> Server:
        """Return a new server of this kind."""
        return Server(self._core(Ledger()), self.cost, self.build.admission_lag, self.intake_ps, self._core)

    def _core(self, ledger: Ledger) -> EngineCore:
        spec, kv = self.spec, self._pool()
        scheduler = SCHEDULERS.make(spec.scheduler.name, spec.scheduler.params)
        host = HostMemory(kv, self.swap_blocks, self.swap_ps)
        once = spec.shared_prefix_reads == "once"
        return EngineCore(kv, scheduler, ledger, self.max_model_len, host=host, shared_once=once)

    def _pool(self) -> KVPool:
        # Without common prefixes no block is ever found by its content, and counting is exact.
        if self._by_content:
            return self._wrapped(PrefixPool(self.blocks, self.block_size))
        return self._wrapped(CountingPool(self.blocks, self.block_size, reuse=self.spec.prefix_caching))

    def describe(self, position: int) -> dict[str, Any]:
        """Return this kind's line in the results."""
        spec = self.spec
        return {
            "name": f"{position}: {self.profile} x{self.parallel.gpus} {spec.scheduler.name}",
            "count": spec.count,
            "hardware": self.profile,
            "engine": self.engine,
            "tensor_parallel": spec.tensor_parallel,
            "pipeline_parallel": spec.pipeline_parallel,
            "expert_parallel": self.parallel.expert,
            "scheduler": spec.scheduler.name,
            "limits": limits_of(spec.scheduler),
            "kv_blocks": self.blocks,
            "block_size": self.block_size,
            "max_model_len": self.max_model_len,
            **self.meter.describe(),
        }


def _swap_space(spec: InstanceSpec, model: Transformer, profile: Profile, block_size: int) -> tuple[int, int]:
    """Return the KV blocks that fit into the host's memory, and the time of one token's KV on the link to it, in ps."""
    if spec.swap_space is None:
        return 0, 0
    if profile.links.pcie is None:
        raise InputError(f"swap_space: the profile of {profile.name} has no link to the host (links.pcie)")
    size = model.kv_bytes_per_token(spec.tensor_parallel) / spec.pipeline_parallel
    return int(spec.swap_space // (block_size * size)), to_ps(size / profile.links.pcie.bandwidth)


def _chosen(switch: bool | str) -> bool | None:
    return switch if isinstance(switch, bool) else None
