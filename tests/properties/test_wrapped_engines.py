"""Cost models and KV pools of techniques in random worlds: the fast path is exact, no block or slot is lost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import event, given
from hypothesis import strategies as st
from support.worlds import ITERATION_PS, InstanceSetup, Outcome, World, history, simulate, worlds

from simulator.cluster.cluster import Server
from simulator.core import InputError, Request
from simulator.cost.base import CostModel, Decodes
from simulator.cost.offload import OffloadedCost, Placement
from simulator.cost.speculative import ModelDraft, SpeculativeCost, Step, expected_tokens
from simulator.cost.wrapped import WrappedCost
from simulator.engine.adapter_pool import AdapterPool
from simulator.engine.kv_pool import KVPool
from simulator.engine.tiered_pool import TieredPool

_STEP = Step(5, expected_tokens([0.7] * 4))
_PLACED = Placement(3e-3, 1e-3, 1e-5, 0.3, 0.2, 1.0, 0.5, 0.7, 0.3, None)


def speculating(cost: CostModel) -> CostModel:
    return SpeculativeCost(cost, ModelDraft(cost, 4), _STEP, 1e6, "a test")


def offloading(cost: CostModel) -> CostModel:
    return OffloadedCost(cost, _PLACED, "a test", gpu_batch=3, overlaps=True)


class Bounded(WrappedCost):
    """Iterations that take a while at least: the shortest closed form that has an edge inside a run."""

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        first, growth, limit = super().decode_run(requests, context, decodes)
        if first >= 2 * ITERATION_PS:
            return first, growth, limit
        return 2 * ITERATION_PS, 0, min(limit, -(-(2 * ITERATION_PS - first) // growth)) if growth else limit

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        return max(2 * ITERATION_PS, super().mixed(chunks, tokens, requests, context, decodes))


def bounded(cost: CostModel) -> CostModel:
    return Bounded(cost, "a test")


def both(cost: CostModel) -> CostModel:
    return speculating(offloading(cost))


def adapters(pool: KVPool) -> KVPool:
    return AdapterPool(pool, 2, ITERATION_PS // 3)


def tiered(pool: KVPool) -> KVPool:
    return TieredPool(pool, 40, ITERATION_PS // 100)


def tiered_adapters(pool: KVPool) -> KVPool:
    return adapters(tiered(pool))


# Policies that ask the pool whether a request can be admitted.
ASKING = {"vllm", "vllm_v0", "sarathi", "prefill_first", "decode_first", "fastgen", "fcfs", "sjf", "srpt", "priority"}
_POOLS = (adapters, tiered, tiered_adapters)


@dataclass(frozen=True)
class Changed(InstanceSetup):
    """An instance with a technique's cost model or KV pool around its own."""

    technique: Any = None

    def pool(self, by_content: bool) -> KVPool:
        pool = super().pool(by_content)
        return self.technique(pool) if self.technique in _POOLS else pool

    def server(self, by_content: bool) -> Server:
        server = super().server(by_content)
        return server if self.technique in _POOLS else server._replace(cost=self.technique(server.cost))


def changed(world: World, technique: Any, clients: Sequence[int] | None = None) -> World:
    kinds = tuple(Changed(**setup.__dict__, technique=technique) for setup in world.instances)
    workload = world.workload
    if clients is not None:
        workload = replace(workload, client=np.resize(np.array(clients, np.int64), len(workload)))
    return replace(world, instances=kinds, workload=workload)


def alike(world: World, by_content: bool | None = None) -> Outcome:
    fast = simulate(world, by_content=by_content)
    exact = simulate(world, exact_steps=True, by_content=by_content)
    assert [history(request) for request in fast.requests] == [history(request) for request in exact.requests]
    return fast


@given(worlds(), st.sampled_from([speculating, offloading, bounded, both]))
def test_cost_models_around_others_are_exact(world, technique):
    plain, with_technique = simulate(world), alike(changed(world, technique))
    assert with_technique.ended == plain.ended == len(world.workload)


@given(worlds(), st.lists(st.integers(-1, 5), min_size=1, max_size=30))
def test_adapters_are_exact_and_give_their_slots_back(world, clients):
    try:
        outcome = alike(changed(world, adapters, clients))
    except InputError as error:
        assert "without asking" in error.message
        assert not {setup.scheduler for setup in world.instances} <= ASKING
        event("refused")
        return
    assert outcome.ended == len(world.workload)
    for server in outcome.servers:
        pool = server.core.kv
        assert isinstance(pool, AdapterPool)
        pool.check_integrity()
        assert not +pool._users and not pool._using and not pool.fetched
        assert len(pool._loaded) <= 2


@given(worlds(prefixes=True), st.sampled_from([tiered, tiered_adapters]), st.lists(st.integers(-1, 3), min_size=1))
def test_tiers_are_exact_and_lose_no_block(world, technique, clients):
    # A slot for everybody: who goes without is the test above's.
    kinds = tuple(replace(setup, caching=True) for setup in world.instances)
    outcome = alike(changed(replace(world, instances=kinds), technique, [each % 2 for each in clients]), True)
    assert outcome.ended == len(world.workload)
    for server in outcome.servers:
        server.core.kv.check_integrity()
