"""What a technique is: a named change to requests, model, engine or cost, that composes with others.

To write one: a file in this package with a class that derives from ``Technique``, ``@technique("name")`` above it, and
a test in ``tests/experiment/techniques/``; being there is being found. Keyword-only arguments of its constructor are
its parameters; their annotations are checked (``Annotated[float, Field(ge=0, le=1)]``, ``Duration``). It sets
``level``, ``source`` and ``changes`` and overrides the methods of what it changes; the others leave everything as it
is. What cannot be is refused where it is found, by raising ``InputError`` with the reason (the frame adds the place). A
YAML in ``experiments/techniques/`` compares it with the baseline at three loads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from simulator.cluster.front import Front
from simulator.cluster.router import Router
from simulator.cost.base import CostModel
from simulator.cost.build import build_cost
from simulator.cost.kv_memory import Held
from simulator.cost.parallelism import Parallelism
from simulator.cost.terms import Terms
from simulator.engine.kv_pool import KVPool
from simulator.experiment.schema import Experiment, InstanceSpec
from simulator.hardware.engine_profile import Build, EngineProfile, Host
from simulator.hardware.profile import Profile
from simulator.model import Transformer
from simulator.workload.table import Workload

Level = Literal["data", "model", "engine"]


@dataclass(frozen=True)
class Parts:
    """What an instance is made of, techniques applied: its YAML, model, GPU, engine, split, and the requests to come.

    ``host`` is what the engine's host costs, behind its server or in process, as the experiment says.
    """

    spec: InstanceSpec
    model: Transformer
    profile: Profile
    engine: EngineProfile
    build: Build
    host: Host
    parallel: Parallelism
    workload: Workload

    def cost_of(self, other: Transformer) -> CostModel:
        """Return what iterations of another model (a draft, a compressor) cost on the same GPUs, without techniques."""
        return build_cost(other, self.profile, self.engine, self.build, self.host, self.parallel)


class Technique:
    """A change that an experiment's ``techniques:`` names.

    ``source`` is the publication that it or its constants are from, ``changes`` says in a line what becomes different.
    Of techniques with the same ``exclusive`` (if not empty) an experiment has one at most.
    """

    level: ClassVar[Level]
    source: ClassVar[str]
    changes: ClassVar[str]
    exclusive: ClassVar[str] = ""
    has_tiers: ClassVar[bool] = False  # it sends requests to instances with a model of their own

    def check(self, config: Experiment, before: Sequence["Technique"]) -> None:
        """Raise InputError if it cannot be with this experiment, or after the techniques ``before`` it in the list."""
        return

    def workload(self, workload: Workload, config: Experiment, rng: np.random.Generator) -> Workload:
        """Return the requests as they reach the cluster; what they wait before that is their ``lead_ps``."""
        return workload

    def model(self, model: Transformer) -> Transformer:
        """Return the model's shape, before ``quantization`` and ``kv_cache_dtype`` of an instance apply."""
        return model

    def instance(self, spec: InstanceSpec) -> InstanceSpec:
        """Return an instance's settings (``spec.model_copy(update=...)``)."""
        return spec

    def build(self, build: Build, engine: EngineProfile) -> Build:
        """Return how the engine was built and what its host costs."""
        return build

    def profile(self, profile: Profile) -> Profile:
        """Return the GPU, for kernels that are faster or slower than those it was measured with."""
        return profile

    def terms(self, terms: Terms, parts: Parts) -> Terms:
        """Return what kernels take: seconds of one GPU, before pipeline stages and the engine's host."""
        return terms

    def memory(self, held: Held, parts: Parts) -> Held:
        """Return the bytes that weights and a token's KV take on each GPU, from which the KV blocks follow."""
        return held

    def pool(self, pool: KVPool, parts: Parts) -> KVPool:
        """Return an instance's KV blocks (a ``simulator.engine.fetching.FetchingPool`` for what must be fetched)."""
        return pool

    def router(self, router: Router | Front, config: Experiment) -> Router | Front:
        """Return what stands before the instances."""
        return router

    def cost(self, cost: CostModel, parts: Parts) -> CostModel:
        """Return what whole iterations take (derive from ``simulator.cost.wrapped.WrappedCost``)."""
        return cost
