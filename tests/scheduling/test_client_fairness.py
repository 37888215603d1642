"""Policies that tell clients apart, in random worlds with several of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.worlds import InstanceSetup, World, history, simulate, token_times, worlds

from simulator.engine.scheduler import Scheduler
from simulator.scheduling.registry import SCHEDULERS

# In exact steps a policy is asked before every iteration; a horizon that claims too much shows as a difference.
POLICIES = {
    "vtc": {},
    "vtc predicted": {"outputs": "predicted"},
    "vtc known": {"outputs": "known", "weights": [1.0, 2.0, 0.5]},
    "lcf": {},
    "rpm": {"requests_per_minute": 3},
}


class Tuned(InstanceSetup):
    """An instance whose policy has parameters of its own."""

    params: dict = {}

    def policy_object(self) -> Scheduler:
        params = {"max_num_seqs": self.max_num_seqs, "max_num_batched_tokens": self.max_num_batched_tokens}
        return SCHEDULERS.make(self.scheduler, params | self.params)


@pytest.mark.parametrize("name", POLICIES)
@given(world=worlds(), clients=st.integers(2, 5), seed=st.integers(0, 2**32 - 1))
def test_the_horizon_holds_with_many_clients(name: str, world: World, clients: int, seed: int):
    client = np.random.default_rng(seed).integers(0, clients, len(world.workload))
    workload = replace(world.workload, client=client, clients=tuple(f"c{n}" for n in range(clients)))
    kind = type("Tuned", (Tuned,), {"params": POLICIES[name]})
    setups = tuple(
        kind(
            **{key: getattr(setup, key) for key in InstanceSetup.__dataclass_fields__} | {"scheduler": name.split()[0]}
        )
        for setup in world.instances
    )
    world = replace(world, workload=workload, instances=setups)
    fast, exact = simulate(world), simulate(world, exact_steps=True)
    assert [history(request) for request in fast.requests] == [history(request) for request in exact.requests]
    assert token_times(fast) == token_times(exact)
    assert all(request.finished_at >= 0 for request in fast.requests)
