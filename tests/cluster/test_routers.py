"""Routers choose as they say, driven by hand without any simulation."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cluster.registry import ROUTERS
from simulator.cluster.router import Least, Router
from simulator.core import Request, Segment


def started(name, instances, *, seed=0, **params):
    router = ROUTERS.make(name, params)
    router.start(instances, np.random.default_rng(seed))
    return router


def send(router, request=None):
    """Route a request as a cluster does."""
    request = request or Request(0, 0, 10, 10)
    index = router.route(request)
    router.sent(index, request)
    return index


# Those that look at the instances instead of counting need some; tests/properties has them.
_COUNTING = [name for name in ROUTERS.names() if ROUTERS.get(name).watch is Router.watch]


@pytest.mark.parametrize("name", _COUNTING)
@pytest.mark.parametrize("instances", [1, 7])
def test_every_router_names_an_instance_that_exists(name, instances):
    router = started(name, instances)
    rng = np.random.default_rng(1)
    sent = []
    for index in range(300):
        request = Request(index, 0, int(rng.integers(1, 500)), 5, session=int(rng.integers(-1, 5)))
        request.segments = (Segment(int(rng.integers(4)), 1),) * int(rng.integers(3))
        sent.append((send(router, request), request))
        if index % 3 == 0:
            router.ended(*sent.pop(int(rng.integers(len(sent)))))
        router.queued(int(rng.integers(instances)), int(rng.integers(4)))
    chosen = {index for index, _ in sent}
    assert chosen <= set(range(instances))


def test_round_robin_takes_turns():
    router = started("round_robin", 3)
    assert [send(router) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_random_is_even_and_follows_its_stream():
    router = started("random", 4)
    counts = Counter(send(router) for _ in range(8000))
    # Binomial(8000, 1/4) has a standard deviation of 39.
    assert all(abs(counts[index] - 2000) < 4 * 39 for index in range(4))
    one, same, other = (started("random", 4, seed=seed) for seed in (1, 1, 2))
    choices = [send(one) for _ in range(50)]
    assert choices == [send(same) for _ in range(50)]
    assert choices != [send(other) for _ in range(50)]


@given(st.integers(1, 6), st.lists(st.tuples(st.booleans(), st.integers(1, 99)), max_size=80))
def test_least_outstanding_and_least_kv_pick_the_least(instances, moves):
    for name, weight in (("least_outstanding", lambda r: 1), ("least_kv", lambda r: r.prompt_tokens)):
        router, loads, present = started(name, instances), [0] * instances, []
        for index, (arrives, number) in enumerate(moves):
            if arrives or not present:
                request = Request(index, 0, number, 5)
                chosen = send(router, request)
                assert loads[chosen] == min(loads)
                loads[chosen] += weight(request)
                present.append((chosen, request))
            else:
                chosen, request = present.pop(number % len(present))
                router.ended(chosen, request)
                loads[chosen] -= weight(request)


@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=60))
def test_join_shortest_queue_looks_at_queues_alone(instances, news):
    router, queues = started("join_shortest_queue", instances), [0] * instances
    assert router.wants_queues
    for index, waiting in news:
        index %= instances
        router.queued(index, waiting)
        queues[index] = waiting
        chosen = send(router)
        assert queues[chosen] == min(queues)
        # The engine tells at once how many wait there now.
        queues[chosen] += 1
        router.queued(chosen, queues[chosen])


@given(st.integers(1, 9), st.integers(0, 99), st.lists(st.booleans(), max_size=120))
def test_power_of_two_never_picks_the_worse_of_its_two(instances, seed, moves):
    router, loads, present = started("power_of_two", instances, seed=seed), [0] * instances, []
    # The documented stream: pairs of a batch of 1024 draws, taken from its end.
    pairs = np.random.default_rng(seed).integers(instances, size=(1024, 2)).tolist()
    for ends in moves:
        if ends and present:
            index = present.pop()
            router.ended(index, Request(0, 0, 1, 1))
            loads[index] -= 1
        else:
            chosen, pair = send(router), pairs.pop()
            assert chosen in pair
            assert loads[chosen] == min(loads[index] for index in pair)
            loads[chosen] += 1
            present.append(chosen)


def session(number):
    return Request(0, 0, 10, 10, session=number)


def test_affinity_sticks_to_the_first_home():
    router = started("session_affinity", 4, max_imbalance=100.0)
    homes = [send(router, session(number)) for number in range(4)]
    assert sorted(homes) == [0, 1, 2, 3], "each new session goes to the least loaded"
    assert [send(router, session(number)) for number in (2, 0, 3, 1, 2, 2)] == [homes[n] for n in (2, 0, 3, 1, 2, 2)]


def test_affinity_yields_where_the_home_is_overloaded():
    router = started("session_affinity", 4, max_imbalance=2.0)
    others = [send(router, session(number)) for number in (1, 2, 3)]
    homes = [send(router, session(0)) for _ in range(12)]
    loads, moved = Counter(others), False
    for home in homes:
        moved |= home != homes[0]
        loads[home] += 1
        # A home may be at twice the mean when it takes a request, no more.
        assert loads[home] - 1 <= max(1, 2 * (sum(loads.values())) / 4)
    assert moved


def test_affinity_without_a_key_is_least_loaded():
    router = started("session_affinity", 3)
    assert sorted(send(router, session(-1)) for _ in range(3)) == [0, 1, 2]


def test_prefix_affinity_compares_as_deep_as_it_is_told():
    def prompt(*ids):
        return Request(0, 0, 100, 1, segments=tuple(Segment(id_, 10 * (n + 1)) for n, id_ in enumerate(ids)))

    shallow, deep = (started("prefix_affinity", 4, depth=depth, max_imbalance=100.0) for depth in (1, 2))
    assert send(shallow, prompt(1, 2)) == send(shallow, prompt(1, 3)) == send(shallow, prompt(1))
    assert send(deep, prompt(1, 2)) != send(deep, prompt(1, 3))
    assert send(deep, prompt(1, 2, 5)) == send(deep, prompt(1, 2, 6))


@given(
    st.one_of(st.integers(1, 7), st.integers(15, 40)),
    st.lists(
        st.tuples(st.sampled_from(["choose", "add", "set"]), st.integers(0, 40), st.integers(-5, 5)), max_size=300
    ),
)
def test_least_is_the_smallest_ties_longest_ago(instances, moves):
    least, values, chosen_at = Least(instances), [0] * instances, list(range(-instances, 0))
    for now, (move, index, number) in enumerate(moves, start=1):
        index %= instances
        if move == "choose":
            expected = min(range(instances), key=lambda i: (values[i], chosen_at[i]))
            assert least.choose(number) == expected
            values[expected] += number
            chosen_at[expected] = now
        elif move == "add":
            least.add(index, number)
            values[index] += number
        else:
            least.set(index, number)
            values[index] = number
        assert least.values == values
        assert least.value(index) == values[index]


def test_least_stays_small_however_often_values_change():
    least = Least(100)
    for step in range(10_000):
        least.set(step % 100, step % 7)
    assert len(least._heap) <= 8 * 100 + 64
    assert least.value(least.choose(0)) == min(least.values)
