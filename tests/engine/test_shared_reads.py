"""KV blocks that requests share, read once by all of them."""

from dataclasses import replace

from hypothesis import given
from support.batches import Batch
from support.costs import KnottyCost
from support.worlds import InstanceSetup, World, history, simulate, table, token_times, worlds

from simulator.core import Request, Segment
from simulator.engine.prefix_pool import PrefixPool
from simulator.engine.shared_reads import SharedReads

PS_PER_TOKEN = 1000


def cost():
    return KnottyCost(base=0, total_width=10**9, longest_width=10**9, slopes=[PS_PER_TOKEN])


def pool_with(*prompts):
    """Return a pool that holds prompts of (own tokens) after 32 common ones, in blocks of 4."""
    kv = PrefixPool(1000, 4)
    for index, own in enumerate(prompts):
        request = Request(index, 0, 32 + own, 10, segments=(Segment(7, 32),))
        kv.admit(request)
        kv.extend(request, request.prompt_tokens - request.computed)
    return kv


def test_a_common_prefix_is_read_once():
    # Three requests read 32 common tokens and 8, 8 and 16 of their own.
    contexts = Batch([40, 40, 48])
    each, _, _ = contexts.run(cost())
    once, growth, _ = contexts.run(SharedReads(cost(), pool_with(8, 8, 16)))
    assert each - once == 2 * 32 * PS_PER_TOKEN
    assert growth == contexts.run(cost())[1]


def test_prompts_of_their_own_cost_what_they_cost():
    contexts = Batch([40])
    assert contexts.run(SharedReads(cost(), pool_with(8))) == contexts.run(cost())


def test_a_prompt_reads_all_that_is_before_it():
    kv, request = pool_with(8, 8), Request(5, 0, 20, 3)
    shared = SharedReads(cost(), kv)
    assert shared.mixed([(request, 20)], 20, 0, 0, Batch([])) == cost().mixed([(request, 20)], 20, 0, 0, Batch([]))


def shared_once(world: World) -> World:
    return replace(world, instances=tuple(replace(setup, shared_once=True) for setup in world.instances))


@given(worlds(prefixes=True))
def test_fast_equals_exact_steps(world):
    world = shared_once(world.scheduled_by("vllm"))
    fast, exact = simulate(world), simulate(world, exact_steps=True)
    assert [history(request) for request in fast.requests] == [history(request) for request in exact.requests]
    assert token_times(fast) == token_times(exact)


def test_a_batch_that_shares_decodes_faster():
    setup = InstanceSetup("vllm", 8, 500, "fcfs", 600, 4, True, 4096, ("knotty", (10**6, 10**6, (1000,))))
    world = World(table([(0, 100, 20)] * 4, segments=[[(1, 96)]] * 4), (setup,), "round_robin", 0)
    each, once = simulate(world), simulate(shared_once(world))
    assert max(r.finished_at for r in once.requests) < max(r.finished_at for r in each.requests)
