"""SpotServe and its baselines on two nodes of two GPUs, one of which leaves: times by hand."""

from typing import Any

import pytest
from support.worlds import fixed, table

from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.regroup import Kept, deal
from simulator.cluster.reparallelise import Configuration, Option, Shape
from simulator.cluster.rerouting import Rerouting
from simulator.cluster.spot import Change, Layout, Nodes
from simulator.cluster.spotserve import SpotServe
from simulator.core import InputError, Request, Streams
from simulator.core.units import PS_PER_S
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.scheduling.registry import SCHEDULERS

S = PS_PER_S
WIDE, NARROW = Shape(1, 4), Shape(1, 2)
NODES = Nodes(2, between=10.0, within=20.0, storage=1.0)


def layout(shape: Shape, seconds: int, policy: str = "whole_batches") -> Layout:
    def fresh(ledger: Ledger, batch: int) -> EngineCore:
        scheduler = SCHEDULERS.make(policy, {"max_num_seqs": batch})
        return EngineCore(CountingPool(1000, 1, reuse=False), scheduler, ledger, 1000)

    return Layout(shape, fixed(seconds * S), fresh, seconds * S)


LAYOUTS = [layout(WIDE, 1), layout(NARROW, 2)]
OPTIONS = [Option(WIDE, 4, 10.0), Option(NARROW, 4, 20.0)]


def run(front: Any, requests: list[tuple[int, int, int]], slots: int = 2) -> Cluster:
    """Serve requests of (arrival in s, prompt, output)."""
    workload = table([(at * S, prompt, output) for at, prompt, output in requests])
    servers = [Server(LAYOUTS[0].fresh(Ledger(), 1), LAYOUTS[0].cost) for _ in range(slots)]
    cluster = Cluster(servers, front, workload, Streams(0).get("router"))
    cluster.run()
    return cluster


def spotserve(changes: list[Change], grace: int = 30, initial: int = 2, **more: Any) -> SpotServe:
    settings = {"options": OPTIONS, "weights": 40.0, "token_bytes": 0.1, "rate": 0.05} | more
    return SpotServe(LAYOUTS, NODES, initial, changes, grace * S, **settings)


def ends(cluster: Cluster) -> list[float]:
    """Return when requests ended, in s, without the picoseconds in between."""
    return [round(request.finished_at / S, 6) for request in cluster.requests]


def test_state_moves_before_the_node_leaves_and_no_token_is_lost():
    front = spotserve([Change(10 * S, 1, comes=False)])
    cluster = run(front, [(0, 10, 60)])
    # Wide until the node leaves at 40 s, less what the move takes: half of the weights and of the KV of four requests
    # with 70 tokens (2 x 10 + 14 B, over a link of 10 B/s between, 3.4 s), and one iteration (1 s).
    assert [configuration for _, configuration in front.configurations] == [
        Configuration(1, WIDE, 4),
        Configuration(1, NARROW, 4),
    ]
    (move,) = cluster.moves
    began = 40 - 1 - 3.4
    # It stops with the iteration in which that is: 36 tokens (one each second), with KV of 10 + 35.
    assert move.asked / S == pytest.approx(began)
    assert move.started / S == pytest.approx(36)
    # Half of its KV comes from the other node, a quarter from the next GPU in this one.
    assert move.size == round(0.75 * 45 * 0.1)
    assert move.ended / S == pytest.approx(36 + (20 + 2.25) / 10)
    # 24 more tokens at 2 s each.
    assert ends(cluster) == [pytest.approx(36 + 2.225 + 48, abs=1e-5)]
    assert front.restarted == 0


def test_restarting_loses_the_tokens_and_loads_all_weights():
    front = spotserve([Change(10 * S, 1, comes=False)], restarts=True, restart=5 * S)
    cluster = run(front, [(0, 10, 60)])
    # Served to the end of the notice at 40 s; then 5 s, 40 B at 1 B/s, and 60 tokens at 2 s.
    assert ends(cluster) == [pytest.approx(40 + 5 + 40 + 120, abs=1e-5)]
    assert cluster.requests[0].first_token_at / S == pytest.approx(40 + 5 + 40 + 2)
    assert not cluster.moves


def test_without_time_for_the_move_kv_on_the_node_is_computed_again():
    front = spotserve([Change(10 * S, 1, comes=False)], grace=0)
    cluster = run(front, [(0, 10, 60)])
    # 10 tokens by then, and one in the making whose iteration has just ended; half of the weights come from storage.
    assert not cluster.moves
    request = cluster.requests[0]
    assert request.first_token_at / S == pytest.approx(1)
    # The tokens stay, their KV and the prompt's are computed again: 50 iterations of 2 s.
    assert ends(cluster) == [pytest.approx(10 + 20 + 100, abs=1e-5)]
    assert front.restarted == 1


def test_a_node_that_comes_is_used_at_once_if_that_is_better():
    front = spotserve([Change(10 * S, 1, comes=True)], initial=1)
    cluster = run(front, [(0, 10, 20)])
    # Half of the weights and of the KV of 10 + 4 tokens move to the new node from 10 s on.
    (move,) = cluster.moves
    assert move.started / S == pytest.approx(10)
    assert ends(cluster) == [pytest.approx(10 + (20 + 0.7) / 10 + 15, abs=1e-5)]


def test_rerouting_drops_the_pipeline_and_begins_elsewhere():
    front = Rerouting(LAYOUTS, NODES, 2, [Change(10 * S, 1, comes=False), Change(60 * S, 2, comes=True)], 30 * S,
                      shape=NARROW, batch=4, weights=40.0, restart=5 * S)  # fmt: skip
    cluster = run(front, [(0, 10, 30), (0, 10, 30), (61, 10, 30), (61, 10, 30), (61, 10, 30)])
    # The first pipeline serves one by 60 s; the other's is lost at 40 s (20 tokens), and begins after it, at 60 s.
    # At 61 s, the three that come wait for the batch in progress; the new pipeline loads until 60 + 5 + 40 s.
    assert ends(cluster)[:2] == [60.0, 120.0]
    assert front.restarted == 1
    assert cluster.requests[1].first_token_at / S == pytest.approx(62)
    assert ends(cluster)[2:] == [180.0] * 3
    assert not cluster.moves


def test_rerouting_makes_nothing_of_the_notice():
    front = Rerouting(LAYOUTS, NODES, 1, [Change(10 * S, 0, comes=False), Change(60 * S, 1, comes=True)], 30 * S,
                      shape=NARROW, batch=4, weights=40.0)  # fmt: skip
    cluster = run(front, [(0, 10, 8), (12, 10, 5), (35, 10, 5)])
    # The second comes after the notice, and ends before the node does; the third is lost with it, and begins anew.
    assert ends(cluster) == [16.0, 26.0, 60 + 40 + 10]
    assert front.restarted == 1


def test_pipelines_serve_on_while_another_joins_them():
    narrow = [Option(NARROW, 4, 20.0)]
    front = spotserve([Change(10 * S, 1, comes=True)], initial=1, options=narrow, rate=10.0)
    cluster = run(front, [(0, 10, 20), (13, 10, 5), (15, 10, 5)])
    assert [configuration for _, configuration in front.configurations] == [
        Configuration(1, NARROW, 4),
        Configuration(2, NARROW, 4),
    ]
    # The first goes on as if nothing were (20 tokens of 2 s). All weights are at the new one at 14 s: the second came
    # before, and waits behind the first until 40 s; the third finds nobody there.
    assert ends(cluster) == [40.0, 50.0, pytest.approx(15 + 10, abs=1e-5)]
    assert not cluster.moves
    assert front.restarted == 0


def test_a_pipeline_opens_as_soon_as_its_own_nodes_have_what_they_need():
    narrow = [Option(NARROW, 4, 20.0)]
    front = spotserve(
        [Change(10 * S, 2, comes=False), Change(10 * S, 3, comes=True)], initial=3, options=narrow, rate=10.0
    )
    cluster = run(front, [(0, 10, 30)] * 3, slots=3)
    # Until 40 s less an iteration and the time for the move: 40 B of weights and 2.5 B or less of KV at 10 B/s.
    assert front.configurations[-1][1] == Configuration(3, NARROW, 4)
    stopped = cluster.moves[0].started / S
    assert stopped == pytest.approx(34)
    # The two that stay go on at once, with 13 tokens to go, and the third 4.25 s later: 40 B, and KV of 10 + 16 tokens.
    late = cluster.moves[0].ended / S - stopped
    assert late == pytest.approx((40 + 26 * 0.1) / 10)
    assert ends(cluster) == [60.0, 60.0, pytest.approx(60 + late, abs=1e-5)]


def test_requests_wait_in_front_where_a_pipeline_that_joins_can_have_them():
    front = spotserve([Change(2 * S, 1, comes=True)], initial=1, options=[Option(NARROW, 1, 20.0)], rate=10.0)
    cluster = run(front, [(0, 10, 10)] * 4)
    # One runs and one waits at the first pipeline; the others get the second one, at 2 + 4 s.
    assert ends(cluster) == [20.0, 40.0, pytest.approx(26.0, abs=1e-5), pytest.approx(46.0, abs=1e-5)]


def test_a_node_lost_while_a_pipeline_joins_or_opens_loses_no_request():
    narrow = [Option(NARROW, 4, 20.0)]
    joins = spotserve(
        [Change(10 * S, 2, comes=True), Change(11 * S, 2, comes=False)], 1, options=narrow, rate=10.0, initial=2
    )
    cluster = run(joins, [(0, 10, 20)] * 2, slots=3)
    # It comes and goes before it has all weights: nobody hears of it.
    assert ends(cluster) == [40.0, 40.0]
    assert [configuration.pipelines for _, configuration in joins.configurations] == [2]
    opens = spotserve(
        [Change(10 * S, 2, comes=False), Change(10 * S, 3, comes=True), Change(35 * S, 3, comes=False)],
        grace=30, options=narrow, rate=10.0, initial=3,
    )  # fmt: skip
    cluster = run(opens, [(0, 10, 30)] * 3, slots=3)
    assert all(request.failure is None for request in cluster.requests)
    assert opens.configurations[-1][1] == Configuration(2, NARROW, 4)


def test_a_batch_that_just_fits_keeps_its_kv():
    # Nobody reads the KV of a last token, so that two of 10 + 11 tokens take 40 slots.
    core = LAYOUTS[0].fresh(Ledger(), 4)
    kept = [Kept(Request(index, 0, 10, 11), core, Request(index, 0, 10, 11)) for index in range(3)]
    batches, left = deal({0: kept}, Configuration(1, NARROW, 4), CountingPool(40, 1, reuse=False))
    assert [each.request.index for _, each in batches[0]] == [0, 1]
    assert [each.request.index for each in left] == [2]


def test_requests_wait_for_nodes_and_fail_when_none_can_come():
    front = spotserve([Change(20 * S, 5, comes=True)], initial=0)
    cluster = run(front, [(0, 10, 5)])
    # A node at 20 s, its weights from storage.
    assert ends(cluster) == [pytest.approx(20 + 40 + 10, abs=1e-5)]
    cluster = run(spotserve([], initial=0), [(0, 10, 5)])
    assert cluster.requests[0].failure == "no pipeline is left, and none will come"


def test_a_lost_cluster_fails_what_waits():
    cluster = run(spotserve([Change(2 * S, 0, comes=False)], grace=3, initial=1), [(0, 10, 50), (9, 10, 5)])
    assert [request.failure is not None for request in cluster.requests] == [True, True]


def test_what_cannot_be():
    with pytest.raises(InputError, match="comes twice"):
        spotserve([Change(S, 1, comes=True)])
    fcfs = [layout(WIDE, 1, "fcfs")]
    servers = [Server(fcfs[0].fresh(Ledger(), 1), fcfs[0].cost)]
    front = SpotServe(fcfs, NODES, 2, [], 0, options=OPTIONS, weights=1.0, token_bytes=1.0)
    with pytest.raises(InputError, match="cannot go on with a request that moved"):
        Cluster(servers, front, table([(0, 1, 1)]), Streams(0).get("router"))
