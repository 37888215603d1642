"""Requests that migrate while they decode, whoever chooses them: what holds in every world."""

from itertools import pairwise

from hypothesis import given, settings
from support.migrating_worlds import MigratingWorld, away, migrating_worlds, simulate_migrating
from support.worlds import history, token_times

from simulator.cluster.cluster import Cluster
from simulator.core import Status


@settings(max_examples=4 * settings().max_examples)
@given(migrating_worlds())
def test_the_fast_path_equals_exact_steps(world: MigratingWorld):
    (fast, quick_moves, _), (exact, slow_moves, _) = (
        simulate_migrating(world),
        simulate_migrating(world, exact_steps=True),
    )
    assert [history(request) for request in fast.requests] == [history(request) for request in exact.requests]
    assert token_times(fast) == token_times(exact)
    assert quick_moves == slow_moves


@given(migrating_worlds())
def test_every_request_ends_once_with_its_tokens(world: MigratingWorld):
    outcome, _, front = simulate_migrating(world)
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
    assert not front.active


@given(migrating_worlds())
def test_migrations_that_are_given_up_leak_nothing(world: MigratingWorld):
    for server in simulate_migrating(world)[0].servers:
        server.core.kv.check_integrity()
        assert not server.core.decodes
        assert not server.core.scheduler.adopted
        assert len(server.core.scheduler.queue) == 0


@given(migrating_worlds())
def test_kv_blocks_are_conserved_at_every_event(world: MigratingWorld):
    # That each pool's count is what its requests hold, those on their way at both ends included, is asserted at every
    # plan by the watched policies that all simulations here run.
    def watch(cluster: Cluster) -> None:
        for instance in cluster.instances:
            kv = instance.core.kv
            assert away(cluster.front, instance.index) <= kv.used <= kv.total

    simulate_migrating(world, watch=watch)


@given(migrating_worlds())
def test_a_request_makes_no_token_while_its_last_kv_is_on_the_way(world: MigratingWorld):
    outcome, moves, _ = simulate_migrating(world)
    times = token_times(outcome)
    for move in moves:
        assert move.asked <= move.started <= move.ended - move.stopped <= move.ended
        assert not any(move.ended - move.stopped < made <= move.ended for made in times[move.request])


@given(migrating_worlds(mover="llumnix"))
def test_what_an_instance_holds_in_mid_run_does_not_depend_on_how_time_is_stepped(world: MigratingWorld):
    def seen(exact_steps: bool) -> list[tuple[int, list[float]]]:
        values = []

        class Front(type(world.front())):
            def arrived(self, request):
                usage = self.usage
                each = [(usage.dispatch(i), usage.migration(i)) for i in range(len(world.instances))]
                values.append((request.index, each))
                super().arrived(request)

        front = world.front()
        front.__class__ = Front
        simulate_migrating(world, exact_steps=exact_steps, front=front)
        return values

    assert seen(exact_steps=False) == seen(exact_steps=True)
