"""A cluster as a whole: arrivals in time, clients that wait, ties, failures and interruptions."""

import gc

import pytest
from support.worlds import table

from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.registry import ROUTERS
from simulator.core import Streams
from simulator.cost.base import FixedCost
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.scheduling.vllm import VLLM
from simulator.workload.table import ClosedLoop

STEP = 10**9


def cluster_of(workload, *, instances=1, router="round_robin", slots=8, blocks=1000, **options):
    def core():
        return EngineCore(CountingPool(blocks, 16, reuse=True), VLLM(max_num_seqs=slots), Ledger(), 4096)

    servers = [Server(core(), FixedCost(STEP)) for _ in range(instances)]
    return Cluster(servers, ROUTERS.make(router, {}), workload, Streams(0).get("router"), **options)


def finished(cluster):
    return [request.finished_at / STEP for request in cluster.requests]


def test_a_request_runs_from_its_arrival():
    cluster = cluster_of(table([(int(2.5 * STEP), 10, 3)]))
    cluster.run()
    (request,) = cluster.requests
    assert (request.admitted_at, request.first_token_at) == (2.5 * STEP, 3.5 * STEP)
    assert finished(cluster) == [5.5]
    assert cluster.now_s == pytest.approx(5.5e-3)


def test_an_arrival_joins_at_the_end_of_the_iteration_in_progress():
    cluster = cluster_of(table([(0, 10, 10), (int(3.5 * STEP), 10, 2)]))
    cluster.run()
    assert cluster.requests[1].admitted_at == 4 * STEP
    assert finished(cluster) == [10, 6]


def test_an_arrival_at_the_end_of_an_iteration_runs_in_the_next():
    cluster = cluster_of(table([(0, 10, 10), (4 * STEP, 10, 2)]))
    cluster.run()
    assert cluster.requests[1].admitted_at == 4 * STEP


def test_a_slot_freed_at_the_moment_of_an_arrival_is_taken_at_once():
    cluster = cluster_of(table([(0, 10, 4), (4 * STEP, 10, 2)]), slots=1)
    cluster.run()
    assert finished(cluster) == [4, 6]


def test_clients_send_again_when_they_have_thought():
    loop = ClosedLoop(2, 5 * STEP)
    cluster = cluster_of(table([(0, 10, 3)] * 6, closed_loop=loop))
    cluster.run()
    assert [request.arrival / STEP for request in cluster.requests] == [0, 0, 8, 8, 16, 16]
    assert finished(cluster) == [3, 3, 11, 11, 19, 19]


def test_more_clients_than_requests_are_no_harm():
    cluster = cluster_of(table([(0, 10, 3)] * 2, closed_loop=ClosedLoop(50)))
    cluster.run()
    assert cluster.ended == 2


def test_a_client_whose_request_failed_goes_on():
    workload = table([(0, 10, 3), (0, 5000, 1), (0, 10, 3)], closed_loop=ClosedLoop(1, STEP))
    cluster = cluster_of(workload)
    cluster.run()
    failures = [request.failure for request in cluster.requests]
    assert failures == [None, "5001 tokens exceed the context limit of 4096", None]
    assert [request.arrival / STEP for request in cluster.requests] == [0, 4, 5]


def test_what_memory_cannot_hold_fails_with_the_count():
    cluster = cluster_of(table([(0, 160, 1), (0, 159, 2), (0, 160, 2)]), blocks=10)
    cluster.run()
    # 160 tokens fill the 10 blocks; the last token of an output is never written.
    assert [request.failure for request in cluster.requests] == [None, None, "needs 11 KV blocks, the instance has 10"]


def test_simultaneous_arrivals_keep_their_order():
    cluster = cluster_of(table([(0, 10, 2)] * 6), slots=2)
    cluster.run()
    assert finished(cluster) == [2, 2, 4, 4, 6, 6]


def test_requests_are_spread_over_instances():
    cluster = cluster_of(table([(0, 10, 2)] * 6), instances=3, router="least_outstanding")
    cluster.run()
    assert sorted(request.instance for request in cluster.requests) == [0, 0, 1, 1, 2, 2]


def test_join_shortest_queue_hears_of_queues():
    # Three at once on one slot each: the third and fourth wait, the fifth and sixth go where one waits less.
    workload = table([(0, 10, 20)] * 4 + [(STEP, 10, 1)] * 2)
    cluster = cluster_of(workload, instances=2, router="join_shortest_queue", slots=1)
    cluster.run()
    assert [request.instance for request in cluster.requests].count(0) == 3


def test_progress_is_told_in_simulated_seconds():
    heard = []
    workload = table([(index * STEP, 10, 1) for index in range(1200)])
    cluster = cluster_of(workload, progress=lambda seconds, ended: heard.append((seconds, ended)))
    cluster.run()
    assert [ended for _, ended in heard] == [500, 1000]
    assert heard[0][0] == pytest.approx(0.5)


def test_an_interruption_leaves_what_has_finished():
    def stop(seconds, ended):
        raise KeyboardInterrupt

    cluster = cluster_of(table([(index * STEP, 10, 5) for index in range(1200)]), progress=stop)
    with pytest.raises(KeyboardInterrupt):
        cluster.run()
    assert cluster.ended == 500
    assert sum(request.finished_at >= 0 for request in cluster.requests) == 500
    assert gc.isenabled(), "the collector works again"


def test_a_run_costs_few_events():
    # A lone request: its arrival and what its run needs, however long it is.
    short, long = (cluster_of(table([(0, 10, output)])) for output in (2, 4000))
    short.run()
    long.run()
    assert long.events == short.events
    exact = cluster_of(table([(0, 10, 4000)]), exact_steps=True)
    exact.run()
    assert exact.events > 4000
    assert finished(exact) == finished(long)
