"""Routers that see old news, or what instances have cached."""

import numpy as np
import pytest

from simulator.cluster.registry import ROUTERS
from simulator.core import InputError, Request, Segment
from simulator.engine.clock import Clock


class Watched:
    """An instance as far as a router looks: it has a clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock


def make(name: str, instances: int = 3, **params):
    router, clock = ROUTERS.make(name, params), Clock()
    router.start(instances, np.random.default_rng(0))
    router.watch([Watched(clock)] * instances)
    return router, clock


def prompt(index: int, *segments: tuple[int, int]) -> Request:
    return Request(index, 0, 100, 10, segments=tuple(Segment(*each) for each in segments))


def test_a_stale_router_hears_of_ends_at_its_next_refresh():
    router, clock = make("stale", 2, of="least_outstanding", refresh="100ms")
    first, second = prompt(0), prompt(1)
    assert (router.route(first), router.route(second)) == (0, 1)
    clock._now = 30 * 10**9
    router.ended(1, second)
    assert router.route(prompt(2)) == 0, "as if both were still busy: the one chosen longest ago"
    assert router.route(prompt(3)) == 1
    clock._now = 150 * 10**9
    assert router.route(prompt(4)) == 1, "0 has two, 1 has one since the refresh"


def test_a_stale_router_knows_at_once_who_is_closed():
    router, _ = make("stale", 2, of="least_outstanding")
    router.closed(0)
    assert [router.route(prompt(n)) for n in range(3)] == [1, 1, 1]


def test_a_router_that_looks_at_instances_cannot_be_made_stale():
    with pytest.raises(InputError, match="looks at the instances itself"):
        ROUTERS.make("stale", {"of": "freeness"})


def test_the_longest_prefix_wins_where_it_is_long_enough():
    router, _ = make("prefix_aware", share=0.5, max_lead=2)
    home = router.route(prompt(0, (1, 40), (2, 80)))
    assert router.route(prompt(1, (1, 40), (3, 90))) != home, "40 of 100 tokens are less than half"
    assert router.route(prompt(2, (1, 40), (2, 80), (4, 95))) == home
    assert router.route(prompt(3, (1, 40), (2, 80))) == home
    assert router.route(prompt(4, (1, 40), (2, 80))) != home, "it leads by 3 requests"


def test_a_popular_prefix_lives_where_it_was_sent_and_closed_homes_do_not_count():
    router, _ = make("prefix_aware", max_lead=0)
    homes = {router.route(prompt(n, (1, 80))) for n in range(3)}
    assert homes == {0, 1, 2}
    router.closed(0)
    assert {router.route(prompt(n, (1, 80))) for n in range(3, 9)} == {1, 2}


@pytest.mark.parametrize("name", ["least_outstanding", "least_kv", "join_shortest_queue", "round_robin", "random",
                                  "power_of_two", "session_affinity", "prefix_affinity", "prefix_aware"])  # fmt: skip
@pytest.mark.parametrize("instances", [3, 20])
def test_no_router_picks_a_closed_instance_and_all_come_back_to_one_that_opens(name: str, instances: int):
    router, _ = make(name, instances)
    router.closed(1)
    assert 1 not in {router.route(prompt(n)) for n in range(60)}
    router.opened(1)
    assert 1 in {router.route(prompt(n)) for n in range(200)}
