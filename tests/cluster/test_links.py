"""Links: transfers at one time share them max-min fairly, and take exactly the time that follows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cluster.links import Link, Network, Transfer, max_min_rates
from simulator.core import InputError
from simulator.engine.clock import ARRIVE, Clock, Moment

S = 10**12  # ps


class Post:
    """A network, and when (s) each transfer arrived."""

    def __init__(self):
        self.clock = Clock()
        self.network = Network(self.clock)
        self.arrived = {}

    def send(self, name, path, size, at=0.0):
        def begin(moment):
            self.network.send(path, size, lambda transfer: self.arrived.update({name: self.clock.time / S}))

        Moment(self.clock, round(at * S), ARRIVE, begin)

    def run(self):
        self.clock.run()
        assert self.network.active == 0
        return self.arrived


def test_a_transfer_alone_takes_its_bytes_over_the_bandwidth_and_the_latency():
    post = Post()
    post.send("a", [Link("wire", 100.0, latency=S // 2)], 250.0)
    assert post.run() == {"a": pytest.approx(0.5 + 2.5, abs=1e-11)}


def test_two_at_once_share_a_link_and_the_longer_one_has_it_alone_in_the_end():
    wire, post = Link("wire", 100.0), Post()
    post.send("short", [wire], 100.0)
    post.send("long", [wire], 300.0)
    # Half each until 2 s; then 200 bytes are left of the long one.
    assert post.run() == pytest.approx({"short": 2.0, "long": 4.0})
    assert wire.carried == 400.0


def test_one_that_comes_later_takes_half_from_then_on():
    wire, post = Link("wire", 100.0), Post()
    post.send("first", [wire], 300.0)
    post.send("second", [wire], 50.0, at=1.0)
    # 100 bytes by 1 s, then 50/s each; the second is done at 2 s, 150 bytes are left.
    assert post.run() == pytest.approx({"first": 3.5, "second": 2.0})


def test_a_transfer_held_up_elsewhere_leaves_its_share_to_others():
    slow, fast, post = Link("slow", 10.0), Link("fast", 100.0), Post()
    post.send("through both", [slow, fast], 10.0)
    post.send("fast alone", [fast], 90.0)
    assert post.run() == pytest.approx({"through both": 1.0, "fast alone": 1.0})


def test_a_link_without_limit_takes_no_time():
    post = Post()
    post.send("a", [Link("free", math.inf)], 1e12, at=1.0)
    assert post.run() == {"a": 1.0 + 1e-12}, "but for the picosecond that every transfer takes"


def test_a_cancelled_transfer_never_arrives_and_frees_its_share():
    wire, post = Link("wire", 100.0), Post()
    gone = post.network.send([wire], 1000.0, lambda transfer: post.arrived.update(gone=True))
    post.send("stays", [wire], 100.0)
    Moment(post.clock, S, ARRIVE, lambda moment: post.network.cancel(gone))
    assert post.run() == pytest.approx({"stays": 1.5})
    assert wire.carried == 100.0


def test_a_link_needs_a_bandwidth():
    with pytest.raises(InputError, match="wire"):
        Link("wire", 0.0)


@given(
    st.lists(st.floats(1, 1000), min_size=1, max_size=5),
    st.lists(st.sets(st.integers(0, 4), min_size=1, max_size=3), min_size=1, max_size=8),
)
def test_rates_are_max_min_fair(bandwidths, paths):
    links = [Link(str(index), bandwidth) for index, bandwidth in enumerate(bandwidths)]
    transfers = [
        Transfer(tuple(links[index % len(links)] for index in {i % len(links) for i in path}), 1.0, print, 0)
        for path in paths
    ]
    rates = max_min_rates(transfers)
    for link in links:
        assert sum(rates[t] for t in transfers if link in t.path) <= link.bandwidth * (1 + 1e-9)
    for transfer in transfers:
        # Fair: on some link of its path that is full, nobody is faster.
        assert any(
            sum(rates[t] for t in transfers if link in t.path) >= link.bandwidth * (1 - 1e-9)
            and all(rates[t] <= rates[transfer] * (1 + 1e-9) for t in transfers if link in t.path)
            for link in transfer.path
        )


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.1, 500), st.floats(0, 5)), min_size=1, max_size=12))
def test_every_transfer_arrives_and_no_link_carries_more_than_it_can(sends):
    links, post = [Link(str(index), 50.0 * (index + 1)) for index in range(3)], Post()
    for name, (index, size, at) in enumerate(sends):
        post.send(name, [links[index]], size, at)
    arrived = post.run()
    assert len(arrived) == len(sends)
    for index, link in enumerate(links):
        mine = [(name, size, at) for name, (which, size, at) in enumerate(sends) if which == index]
        assert link.carried == pytest.approx(sum(size for _, size, _ in mine))
        for name, size, at in mine:
            assert arrived[name] >= at + size / link.bandwidth - 1e-9
        if mine:
            busy = max(arrived[name] for name, _, _ in mine) - min(at for _, _, at in mine)
            assert sum(size for _, size, _ in mine) <= busy * link.bandwidth * (1 + 1e-9)
