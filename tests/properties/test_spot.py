"""Spot nodes that leave and come: every request completes or fails exactly once, and no KV block is left behind."""

from itertools import pairwise

from hypothesis import given, settings
from support.spot_worlds import SpotWorld, simulate_spot, spot_worlds
from support.worlds import Outcome, history, token_times

from simulator.cluster.cluster import Cluster
from simulator.cluster.spot import Spot
from simulator.core import Status
from simulator.engine.kv_pool import KVPool

_MANY = settings(max_examples=3 * settings().max_examples)


@_MANY
@given(spot_worlds())
def test_every_request_ends_exactly_once_and_the_fast_path_equals_exact_steps(world: SpotWorld):
    (fast, quick, front, pools), (exact, slow, other, _) = simulate_spot(world), simulate_spot(world, exact_steps=True)
    every_request_ends_exactly_once(world, fast, front, pools)
    assert [history(request) for request in fast.requests] == [history(request) for request in exact.requests]
    assert token_times(fast) == token_times(exact)
    assert quick.moves == slow.moves
    assert front.restarted == other.restarted
    assert getattr(front, "configurations", None) == getattr(other, "configurations", None)
    ends = max(request.finished_at for request in fast.requests)
    assert front.paid_ps(0, ends) == other.paid_ps(0, ends)


def every_request_ends_exactly_once(world: SpotWorld, outcome: Outcome, front: Spot, pools: list[KVPool]) -> None:
    assert outcome.ended == len(outcome.requests) == len(world.workload)
    assert not front.held and not any(front.serving)
    times = token_times(outcome)
    for request in outcome.requests:
        made = [at for at in times.get(request.index, []) if at >= request.first_token_at >= 0]
        assert request.finished_at >= request.arrival
        assert all(earlier < later for earlier, later in pairwise(made))
        if request.status is Status.COMPLETED:
            assert len(made) == request.output_tokens
            assert (made[0], made[-1]) == (request.first_token_at, request.finished_at)
    for pool in pools:
        pool.check_integrity()


@given(spot_worlds())
def test_nothing_serves_on_a_node_that_is_gone(world: SpotWorld):
    def watch(cluster: Cluster, front: Spot) -> None:
        places = [request for serving in front.serving for request in serving]
        assert len(places) == len(set(places)) <= len(cluster.requests) - cluster.ended
        assert front.leaving.keys() <= front.present
        if cluster.done:
            return
        if world.system == "rerouting":
            assert all(front._nodes(slot) <= front.present for slot in front.open)
        elif front.open and not front._busy:  # while it opens, a node may go in that picosecond
            assert front.placed.nodes <= front.present

    simulate_spot(world, watch=watch)
