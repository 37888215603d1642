"""Instances that lend each other KV memory: what holds in every world."""

from hypothesis import given, settings
from support.lending_worlds import LendingWorld, front_blocks, lending_worlds, simulate_lending
from support.worlds import history, token_times

from simulator.cluster.cluster import Cluster
from simulator.core import Status


@settings(max_examples=2 * settings().max_examples)
@given(lending_worlds())
def test_the_fast_path_equals_exact_steps(world: LendingWorld):
    (fast, quick, _), (exact, slow, _) = simulate_lending(world), simulate_lending(world, exact_steps=True)
    assert [history(request) for request in fast.requests] == [history(request) for request in exact.requests]
    assert token_times(fast) == token_times(exact)
    assert quick.borrowed == slow.borrowed


@given(lending_worlds())
def test_every_request_that_all_memory_together_can_hold_is_served(world: LendingWorld):
    outcome, _, cluster = simulate_lending(world)
    assert outcome.ended == len(outcome.requests) == len(world.workload)
    times = token_times(outcome)
    for request in outcome.requests:
        fits = request.prompt_tokens + request.output_tokens <= cluster.instances[request.instance].core.most_tokens
        fits = fits and request.prompt_tokens <= cluster.instances[request.instance].core.scheduler.longest_prompt
        assert request.status is (Status.COMPLETED if fits else Status.FAILED)
        assert len(times.get(request.index, [])) == (request.output_tokens if fits else 0)


@given(lending_worlds())
def test_everything_is_paid_back(world: LendingWorld):
    outcome, front, cluster = simulate_lending(world)
    assert not front.loans
    for setup, server, instance in zip(world.instances, outcome.servers, cluster.instances, strict=True):
        server.core.kv.check_integrity()
        assert server.core.kv.total == setup.blocks
        assert instance.cost.lent == 0 and not instance.cost.shares


@given(lending_worlds())
def test_memory_is_conserved_at_every_event(world: LendingWorld):
    # That each pool's count is what its requests hold and what it lent is asserted at every plan by the watched
    # policies that all simulations here run.
    blocks = sum(setup.blocks for setup in world.instances)

    def watch(cluster: Cluster) -> None:
        pools = [instance.core.kv for instance in cluster.instances]
        borrowed = sum(loan.blocks for loan in cluster.front.loans if loan.usable)
        assert sum(kv.total for kv in pools) == blocks + borrowed
        for index, kv in enumerate(pools):
            assert front_blocks(cluster.front, index) <= kv.used <= kv.total

    simulate_lending(world, watch=watch)
