"""Prefill and decode split over instances, whoever chooses: what holds in every world."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from support.split_worlds import SplitWorld, simulate_split, split_worlds
from support.worlds import history, token_times

from simulator.cluster.cluster import Cluster
from simulator.core import Status


@settings(max_examples=3 * settings().max_examples)
@given(split_worlds())
def test_the_fast_path_equals_exact_steps(world: SplitWorld):
    (fast, quick_moves, _), (exact, slow_moves, _) = simulate_split(world), simulate_split(world, exact_steps=True)
    assert [history(request) for request in fast.requests] == [history(request) for request in exact.requests]
    assert token_times(fast) == token_times(exact)
    assert sorted(quick_moves) == sorted(slow_moves)  # those of one moment come in any order


@given(split_worlds())
def test_every_request_ends_once_with_its_tokens(world: SplitWorld):
    outcome, _, _ = simulate_split(world)
    assert outcome.ended == len(outcome.requests) == len(world.workload)
    times = token_times(outcome)
    for request in outcome.requests:
        made = times.pop(request.index, [])
        assert request.finished_at >= 0
        assert len(made) == (0 if request.status is Status.FAILED else request.output_tokens)
        assert all(earlier < later for earlier, later in pairwise(made))
        if made:
            assert (made[0], made[-1]) == (request.first_token_at, request.finished_at)
    assert not times
    for server in outcome.servers:
        server.core.kv.check_integrity()
        assert not server.core.decodes


@given(split_worlds())
def test_a_move_lies_between_the_first_token_and_the_second(world: SplitWorld):
    outcome, moves, _ = simulate_split(world)
    assert len({move.request for move in moves}) == len(moves), "a request's KV moves once"
    times = token_times(outcome)
    for move in moves:
        request = outcome.requests[[each.index for each in outcome.requests].index(move.request)]
        first, second = times[move.request][:2]
        assert first <= move.asked <= move.started <= move.ended <= second
        assert move.target == request.instance != move.source
    if world.system == "routers":
        several = [each for each in outcome.requests if each.failure is None and each.output_tokens > 1]
        assert {move.request for move in moves} == {each.index for each in several}


@given(split_worlds())
def test_kv_blocks_are_conserved_at_every_event(world: SplitWorld):
    # That each pool's count is what its requests hold, those on their way at both ends included, is asserted at every
    # plan by the watched policies that all simulations here run.
    def watch(cluster: Cluster) -> None:
        on_the_way = cluster.front.handover.moving
        for instance in cluster.instances:
            kv = instance.core.kv
            assert sum(on_the_way.get(instance.index, {}).values()) <= kv.used <= kv.total

    simulate_split(world, watch=watch)


@given(split_worlds())
def test_links_without_limit_give_what_kv_without_bytes_gives(world: SplitWorld):
    free = simulate_split(replace(world, bandwidth=float("inf"), token_bytes=1e3, latency_ps=0))
    empty = simulate_split(replace(world, bandwidth=1e6, token_bytes=0.0, latency_ps=0))
    assert [history(request) for request in free[0].requests] == [history(request) for request in empty[0].requests]
    assert token_times(free[0]) == token_times(empty[0])


@given(split_worlds(system="splitwise"))
def test_splitwise_ends_with_everybody_at_home_and_nothing_pending(world: SplitWorld):
    _, _, front = simulate_split(world)
    assert not any(front.pending) and not any(front.memory)
    assert front.prompt.by_pending.members == set(range(world.prefill))
    assert not front.mixed.by_pending.members


@given(split_worlds(system="tetriinfer"))
def test_tetriinfer_never_gives_up_a_role(world: SplitWorld):
    _, _, front = simulate_split(world)
    assert not any(front.pending) and front.prefill.members and front.decode
    assert front.prefill.members.isdisjoint(front.decode)
    assert len(front.prefill) + len(front.decode) == len(world.instances)
