"""Multi-level feedback queues: who has run for long gives way, and what FastServe adds."""

from itertools import pairwise

import pytest
from support.by_hand import ByHand, request
from support.worlds import ITERATION_PS, InstanceSetup, World, simulate, table

from simulator.core import InputError, Request
from simulator.cost.base import FixedCost
from simulator.engine.estimates import Estimates
from simulator.scheduling.mlfq import MLFQ
from simulator.scheduling.skip_join_mlfq import SkipJoinMLFQ

PS = 1e-12  # by hand, an iteration is a picosecond


def skip_join(*, blocks=100_000, block_size=1, host_blocks=0, **params):
    """Return a skip-join engine whose profile says that a prompt takes as many ps as it has tokens."""
    engine = ByHand(SkipJoinMLFQ(**params), blocks=blocks, block_size=block_size, host_blocks=host_blocks)

    class Linear(FixedCost):
        def mixed(self, chunks, tokens, requests, context, decodes):
            return tokens

    engine.policy.estimates = Estimates(Linear(1), engine.core.decodes)
    return engine


def test_a_newcomer_goes_before_whoever_used_up_the_first_quantum():
    engine = ByHand(MLFQ(max_num_seqs=1, quantum=2 * PS))
    engine.send(request(0, 5, 20))
    assert engine.steps(2) == [{0: 5}, {0: 1}]
    engine.send(request(1, 3, 3), request(2, 3, 1))
    # Request 1 has its quantum of two iterations, and then waits behind request 2, and at the front of its own queue.
    assert engine.steps(4) == [{1: 3}, {1: 1}, {2: 3}, {1: 1}]


def test_within_a_queue_nobody_gives_way():
    engine = ByHand(MLFQ(max_num_seqs=1, quantum=10 * PS))
    engine.send(request(0, 5, 4), request(1, 5, 2))
    assert engine.steps(6) == [{0: 5}, {0: 1}, {0: 1}, {0: 1}, {1: 5}, {1: 1}]


def test_quanta_grow_by_queue():
    engine = ByHand(MLFQ(max_num_seqs=1, quantum=1 * PS, growth=3))
    levels = {}
    request_ = request(0, 1, 40)
    engine.send(request_)
    for _ in range(15):
        engine.step()
        levels[engine.now] = engine.policy.level(engine.now * 2 - engine.policy._born[request_])
    # 1, then 3, then 9 iterations.
    assert [levels[n] for n in (1, 3, 4, 12, 13)] == [1, 1, 2, 2, 3]


def test_a_newcomer_skips_the_queues_whose_quanta_its_prompt_exceeds():
    engine = skip_join(quantum=10 * PS)
    queues = [engine.policy.first_queue(Request(0, 0, prompt, 1)) for prompt in (10, 11, 20, 21, 100)]
    assert queues == [0, 1, 1, 2, 4]


def test_short_prompts_overtake_long_ones_only_if_those_skip():
    sent = [request(0, 100, 1), request(1, 5, 1)]
    naive = ByHand(MLFQ(max_num_seqs=1, quantum=10 * PS))
    skipping = skip_join(max_num_seqs=1, quantum=10 * PS)
    for engine, first in ((naive, {0: 100}), (skipping, {1: 5})):
        engine.send(*(Request(each.index, each.arrival, each.prompt_tokens, 1) for each in sent))
        assert engine.step() == first


def test_who_waited_for_long_is_promoted_at_the_next_look():
    engine = skip_join(max_num_seqs=1, quantum=1 * PS, promote_after=6 * PS, check_every=4)
    engine.send(request(0, 1, 40))
    engine.steps(3)
    given = []
    for index in range(1, 40):
        engine.send(request(index, 1, 1))
        given.append(engine.step())
    ran = [engine_now for engine_now, step in enumerate(given) if 0 in step]
    # Newcomers take every iteration but those after a promotion; each promotion is worth a quantum.
    assert len(ran) >= 3
    assert all(later - earlier >= 6 for earlier, later in pairwise(ran))


@pytest.mark.parametrize(("name", "starved"), [("mlfq", True), ("skip_join_mlfq", False)])
def test_a_stream_of_newcomers_starves_only_without_promotion(name, starved):
    setup = InstanceSetup(name, 2, 500, "fcfs", 600, 1, False, 4096, ("fixed", (ITERATION_PS,)))
    # Work for exactly two slots, all of it in the first queue.
    newcomers = [(ITERATION_PS * (1 + 5 * n), 3, 10) for n in range(6000)]
    world = World(table([(0, 100, 60), *newcomers]), (setup,), "round_robin", 0)
    requests = simulate(world).requests
    before = sum(other.finished_at < requests[0].finished_at for other in requests)
    assert (before > 5990) == starved
    assert starved or before < 5000


def test_kv_moves_out_ahead_of_need_and_back_while_others_run():
    # An iteration is 20 ps, the link takes one a token. A free block for each of the 4 slots is what it strives for.
    engine = skip_join(max_num_seqs=4, quantum=40 * PS, blocks=16, block_size=8, host_blocks=100)
    old = [request(index, 9, 30) for index in range(3)]
    new = [request(index, 2, 12) for index in range(3, 7)]
    seen = []

    def run(iterations):
        for _ in range(iterations):
            given = engine.step()
            engine.now += 19
            seen.append((sorted(given), engine.host.total - engine.host.free, engine.extras.moved))

    engine.send(*old)
    run(12)
    engine.send(*new)
    run(60)
    assert seen[11] == ([0, 1, 2], 0, 0)
    # Four blocks go to the newcomers, and three are left: one request leaves while they run, a second one later.
    assert [host for _, host, _ in seen[12:24]] == [0, 0, 3, 3, 3, 3, 3, 3, 3, 6, 6, 6]
    assert {tuple(ran) for ran, _, _ in seen[12:24]} == {(3, 4, 5, 6)}
    # Back they come one after the other, and run as they arrive.
    assert [ran for ran, _, _ in seen[24:27]] == [[2], [1, 2], [0, 1, 2]]
    assert all(moved == 0 for _, _, moved in seen), "no iteration waited for the link"
    assert all(each.finished_at > 0 for each in old + new)
    assert [each.preemptions for each in old] == [1, 1, 0]
    assert (engine.kv.free, engine.host.free) == (16, 100)


@pytest.mark.parametrize("params", [{"growth": 1}, {"max_num_seqs": 0}])
def test_impossible_parameters(params):
    with pytest.raises(InputError):
        MLFQ(**params)


def test_a_look_needs_a_period():
    with pytest.raises(InputError, match="check_every"):
        SkipJoinMLFQ(check_every=0)
