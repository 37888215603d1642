"""Clusters whose instances come and go: every request completes or fails exactly once, and nothing is left behind."""

from itertools import pairwise

from hypothesis import given, settings
from support.fleet_worlds import FleetWorld, fleet_worlds, simulate_fleet
from support.worlds import Outcome, history, token_times

from simulator.cluster.cluster import Cluster
from simulator.cluster.fleet import Fleet, State
from simulator.core import Status

# Six times the others': 300 schedules of faults in CI, 12,000 with HYPOTHESIS_PROFILE=thorough.
_MANY = settings(max_examples=6 * settings().max_examples)


@_MANY
@given(fleet_worlds())
def test_every_request_ends_exactly_once_and_the_fast_path_equals_exact_steps(world: FleetWorld):
    (fast, quick, front), (exact, slow, other) = simulate_fleet(world), simulate_fleet(world, exact_steps=True)
    every_request_ends_exactly_once(world, fast, quick, front)
    assert [history(request) for request in fast.requests] == [history(request) for request in exact.requests]
    assert token_times(fast) == token_times(exact)
    assert quick.moves == slow.moves
    ends = max(request.finished_at for request in fast.requests)
    indices = range(len(front.state))
    assert [front.up_ps(at, 0, ends) for at in indices] == [other.up_ps(at, 0, ends) for at in indices]


def every_request_ends_exactly_once(world: FleetWorld, outcome: Outcome, cluster: Cluster, front: Fleet) -> None:
    assert outcome.ended == len(outcome.requests) == len(world.workload)
    assert not front.held and not front.missing and not any(front.present)
    times = token_times(outcome)
    for request in outcome.requests:
        made = [at for at in times.get(request.index, []) if at >= request.first_token_at >= 0]
        assert request.finished_at >= request.arrival
        assert all(earlier < later for earlier, later in pairwise(made))
        if request.status is Status.COMPLETED:
            # Tokens of tries that were given up came before the last try's first one. A batch is answered as a whole
            # after a last token, which is made again where the batch is lost before that.
            again = front.lost.get(request, 0) if "static" in {setup.scheduler for setup in world.instances} else 0
            assert request.output_tokens <= len(made) <= request.output_tokens + again
            assert made[0] == request.first_token_at
        if world.in_flight == "fail" or world.retries is not None:
            most = 0 if world.in_flight == "fail" else world.retries
            assert front.lost.get(request, 0) <= most + 1
    for instance in cluster.instances:
        instance.core.kv.check_integrity()
        assert not instance.core.decodes and not instance.core.scheduler.queue


@given(fleet_worlds())
def test_a_world_repeats_itself(world: FleetWorld):
    (once, _, _), (again, _, _) = simulate_fleet(world), simulate_fleet(world)
    for first, second in zip(once.ledgers, again.ledgers, strict=True):
        assert first.runs().tobytes() == second.runs().tobytes()
        assert first.spans().tobytes() == second.spans().tobytes()


@given(fleet_worlds())
def test_a_request_is_in_one_place_at_every_event(world: FleetWorld):
    def watch(cluster: Cluster) -> None:
        front = cluster.front
        places = [request for present in front.present for request in present] + list(front.held) + list(front.missing)
        assert len(places) == len(set(places)) == len(cluster.requests) - cluster.ended
        for index, state in enumerate(front.state):
            if state in (State.OFF, State.STARTING):
                assert not front.present[index]
            assert (index in front.open) <= (state is State.SERVING)

    simulate_fleet(world, watch=watch)
