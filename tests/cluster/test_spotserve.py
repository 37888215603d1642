"""SpotServe and its baselines on two nodes of two GPUs, one of which leaves: times by hand."""

from typing import Any

import pytest
from support.worlds import fixed, table

from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.reparallelise import Configuration, Option, Shape
from simulator.cluster.rerouting import Rerouting
from simulator.cluster.spot import Change, Layout, Nodes
from simulator.cluster.spotserve import SpotServe
from simulator.core import InputError, Streams
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
