"""Prefill and decode on different instances, by hand: iterations of 1 s, a token's KV of 1 byte."""

import numpy as np
import pytest
from support.worlds import table

from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.disaggregated import Disaggregated
from simulator.cluster.handover import Handover, KVShape
from simulator.cluster.registry import ROUTERS
from simulator.cluster.splitwise import Splitwise, TokenJSQ
from simulator.cluster.tetriinfer import TetriInfer
from simulator.cluster.topology import Place, Topology
from simulator.core import InputError
from simulator.cost.base import FixedCost
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.scheduling.predictors import make_predictor
from simulator.scheduling.registry import SCHEDULERS

S = 10**12


def server(blocks=1000, scheduler="vllm", **params):
    pool = CountingPool(blocks, 1, reuse=False)
    return Server(EngineCore(pool, SCHEDULERS.make(scheduler, params), Ledger(), 10**6), FixedCost(S))


def handover(instances, bandwidth=10.0, **options):
    return Handover(Topology([Place(1, bandwidth, bandwidth)] * instances), KVShape(1.0, 4), **options)


def split(prefill, decode, moves):
    routers = ROUTERS.make("round_robin", {}), ROUTERS.make("round_robin", {})
    return Disaggregated(prefill, decode, *routers, moves)


def run(servers, front, *requests):
    cluster = Cluster(servers, front, table(requests), np.random.default_rng(0))
    cluster.run()
    return cluster


def test_the_first_token_is_the_prefill_instances_and_the_gap_after_it_has_the_transfer():
    cluster = run([server(), server()], split([0], [1], handover(2)), (0, 20, 3))
    (request,), (move,) = cluster.requests, cluster.moves
    assert request.first_token_at == S, "one iteration, at the prefill instance"
    # 20 bytes at 10 a second: the KV is there at 3 s, and the other two tokens take a second each.
    assert (move.asked, move.started, move.ended, move.size) == (S, S, 3 * S, 20)
    assert move.stopped == 2 * S
    assert (move.source, move.target, request.instance) == (0, 1, 1)
    assert request.finished_at == 5 * S


def test_layer_by_layer_leaves_what_the_link_could_not_carry_meanwhile():
    slow = run([server(), server()], split([0], [1], handover(2, transfer="layerwise")), (0, 20, 3))
    assert slow.moves[0].ended == 2 * S, "10 of the 20 bytes went during the prompt's second"
    fast = run([server(), server()], split([0], [1], handover(2, 100.0, transfer="layerwise")), (0, 20, 3))
    assert fast.moves[0].ended == pytest.approx(S + S * 5 / 100), "the last of four layers, 5 bytes, comes after it"


def test_an_output_of_one_token_never_moves():
    cluster = run([server(), server()], split([0], [1], handover(2)), (0, 20, 1))
    assert cluster.moves == []
    assert (cluster.requests[0].instance, cluster.requests[0].finished_at) == (0, S)


def test_kv_fills_memory_at_both_ends_until_the_transfer_ends():
    servers = [server(), server()]
    cluster = Cluster(servers, split([0], [1], handover(2)), table([(0, 20, 3)]), np.random.default_rng(0))
    used = {}
    while cluster.clock.agenda:
        cluster.clock.step()
        used[cluster.clock.time] = [each.core.kv.used for each in servers]
    assert used[S] == [20, 20]
    assert used[3 * S][0] == 0


def test_two_transfers_into_one_instance_share_its_port():
    cluster = run([server(), server(), server()], split([0, 1], [2], handover(3)), (0, 20, 2), (0, 20, 2))
    assert [move.ended for move in cluster.moves] == [5 * S, 5 * S]


def test_where_decode_is_full_prompts_wait_with_their_kv_until_prefill_is_full():
    # The decode instance holds one request of 20 + 5 tokens, the prefill instance two prompts of 20.
    servers = [server(blocks=40), server(blocks=26)]
    cluster = run(servers, split([0], [1], handover(2, 1e9)), *[(0, 20, 6)] * 4)
    first = [request.first_token_at for request in cluster.requests]
    # Two prompts at once; of these one goes at 1 s, and the third prompt fits. The fourth waits until the decode
    # instance took the second one.
    assert first[0] == first[1] == S
    assert first[2] == pytest.approx(2 * S, rel=0.01)
    assert first[3] > 6 * S
    assert all(request.failure is None for request in cluster.requests)


def test_pulling_leaves_kv_where_it_is_while_others_wait_for_a_slot():
    # One slot: the first decodes, the second waits for it with more than 5 % of the blocks, the third is not pulled.
    def moved(mode):
        servers = [server(), server(scheduler="vllm", max_num_seqs=1, max_num_batched_tokens=100)]
        cluster = run(servers, split([0], [1], handover(2, 1e9, mode=mode)), *[(0, 60, 20)] * 3)
        return sorted(move.started for move in cluster.moves)

    assert moved("push") == [S, S, S]
    pulled = moved("pull")
    assert pulled[1] < 3 * S < 20 * S <= pulled[2]


def test_a_request_that_no_decode_instance_holds_fails_when_it_comes():
    cluster = run([server(), server(blocks=30)], split([0], [1], handover(2)), (0, 20, 30), (S, 5, 3))
    large, small = cluster.requests
    assert "KV blocks" in large.failure
    assert large.finished_at == 0
    assert small.failure is None
    assert cluster.ended == 2


def test_who_cannot_take_over_requests_is_named():
    with pytest.raises(InputError, match="Orca cannot decode"):
        run([server(), server(scheduler="orca")], split([0], [1], handover(2)), (0, 20, 3))


def test_splitwise_chooses_both_ends_at_arrival_by_pending_tokens_and_memory():
    front = Splitwise([0, 1], [2, 3], handover(4))
    cluster = run([server() for _ in range(4)], front, (0, 50, 3), (0, 20, 3), (0, 20, 3))
    assert [(move.source, move.target) for move in sorted(cluster.moves, key=lambda move: move.request)] == [
        (0, 2),
        (1, 3),  # nothing pends at 1, nothing is scheduled on 3
        (1, 3),  # 20 against 50, on both sides
    ]


def test_splitwise_lends_a_token_instance_for_prompts_that_would_wait_too_long():
    front = Splitwise([0], [1], handover(2), max_pending_tokens=60)
    cluster = run([server(), server()], front, (0, 50, 3), (0, 20, 3))
    # The second one's prompt and its tokens both stay at the lent instance: nothing moves.
    assert [move.request for move in cluster.moves] == [0]
    assert cluster.requests[1].first_token_at == S
    assert front.mixed.by_pending.members == set(), "it went home"


def test_splitwise_goes_on_in_place_without_a_pause():
    cluster = run([server(), server()], TokenJSQ(), (0, 50, 4), (0, 20, 4))
    assert [request.instance for request in cluster.requests] == [0, 1]
    assert [request.finished_at for request in cluster.requests] == [4 * S, 4 * S]
    assert cluster.moves == []


def test_splitwise_machines_let_outputs_sit_out_only_so_often():
    # Five tokens an iteration: prompts of 5 leave no room for the first request's tokens, twice.
    params = {"max_num_batched_tokens": 5, "max_preemptions": 2}
    requests = [(0, 5, 3), *[(S, 5, 1)] * 5]
    cluster = run([server(scheduler="splitwise", **params)], TokenJSQ(), *requests)
    patient, *prompts = cluster.requests
    # Its iterations are the 1st, the 4th after two prompts, and the 6th: from then on it sits out one at a time.
    assert patient.finished_at == 6 * S
    assert [prompt.finished_at // S for prompt in prompts] == [2, 3, 5, 7, 8]


def tetri(prefill, decode, **options):
    return TetriInfer(prefill, decode, handover(len(prefill) + len(decode), 1e9), make_predictor("oracle"), **options)


def test_tetriinfer_keeps_heavy_outputs_apart():
    front = tetri([0], [1, 2], heavy_output=10)
    cluster = run([server(10**5) for _ in range(3)], front, *[(n * S // 10, 5, 500) for n in range(2)], (S, 5, 5))
    by_index = {request.index: request.instance for request in cluster.requests}
    assert {by_index[0], by_index[1]} == {1, 2}, "two heavy ones on two instances"


def test_tetriinfer_reserves_what_a_request_may_grow_to():
    def started(admission):
        front = tetri([0], [1], admission=admission)
        cluster = run([server(1000), server(75)], front, (0, 20, 40), (0, 20, 40))
        return sorted(move.started // S for move in cluster.moves), sum(r.preemptions for r in cluster.requests)

    assert started("greedy") == ([1, 1], 1)  # both go at once, and one of them is computed again
    assert started("reserve_static") == ([1, 40], 0)


def test_tetriinfer_flips_an_idle_instance_when_the_other_role_is_busy():
    requests = [(n * S, 5, 400) for n in range(40)]
    fixed, flipping = tetri([0, 1], [2]), tetri([0, 1], [2], flip_after_ps=60 * S)
    for front in (fixed, flipping):
        cluster = run([server(10**5, max_num_seqs=8, max_num_batched_tokens=512) for _ in range(3)], front, *requests)
        assert cluster.ended == 40
    assert fixed.flips == 0
    assert flipping.flips >= 1
    assert flipping.prefill.members and flipping.decode
