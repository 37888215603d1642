"""Policies that order by priority, by predicted length or by deadline: who runs, who gives way, and its KV."""

import pytest
from support.by_hand import ByHand, request

from simulator.core import InputError
from simulator.scheduling.edf import EDF
from simulator.scheduling.priority import Priority
from simulator.scheduling.sjf import SJF
from simulator.scheduling.srpt import SRPT


def test_an_urgent_newcomer_takes_a_slot_and_the_other_goes_on_where_it_was():
    engine = ByHand(Priority(max_num_seqs=1))
    engine.send(request(0, 5, 4, priority=1))
    assert engine.steps(2) == [{0: 5}, {0: 1}]
    engine.send(request(1, 3, 2, priority=0))
    assert engine.steps(4) == [{1: 3}, {1: 1}, {0: 1}, {0: 1}]


def test_without_preemption_urgency_decides_only_who_is_next():
    engine = ByHand(Priority(max_num_seqs=1, preempt=False))
    engine.send(request(0, 5, 3, priority=1))
    assert engine.steps(1) == [{0: 5}]
    engine.send(request(1, 3, 1, priority=1), request(2, 3, 1, priority=0))
    assert engine.steps(4) == [{0: 1}, {0: 1}, {2: 3}, {1: 3}]


@pytest.mark.parametrize(("host", "moved", "restart"), [(0, [0, 0, 0], 7), (50, [6, 0, 6], 1)])
def test_a_better_ranked_request_takes_memory_by_swap_if_the_host_has_room_else_by_recompute(host, moved, restart):
    engine = ByHand(Priority(max_num_seqs=4), blocks=20, host_blocks=host)
    low = request(0, 5, 9, priority=1)
    engine.send(low)
    assert engine.steps(2) == [{0: 5}, {0: 1}]
    engine.send(request(1, 18, 2, priority=0))
    seen = []
    for expected in ({1: 18}, {1: 1}, {0: restart}):
        assert engine.step() == expected
        seen.append(engine.extras.moved)
    assert seen == moved
    assert low.preemptions == 1
    engine.steps(10)
    assert engine.kv.free == 20


def test_a_cut_prompt_gives_way_and_keeps_what_it_computed():
    engine = ByHand(Priority(max_num_seqs=4, max_num_batched_tokens=10))
    engine.send(request(0, 25, 1, priority=1))
    assert engine.steps(1) == [{0: 10}]
    engine.send(request(1, 8, 1, priority=0))
    assert engine.steps(3) == [{1: 8, 0: 2}, {0: 10}, {0: 3}]


def test_the_shortest_starts_next_but_takes_nobodys_place():
    engine = ByHand(SJF(max_num_seqs=1))
    engine.send(request(0, 5, 4))
    assert engine.steps(1) == [{0: 5}]
    engine.send(request(1, 5, 3), request(2, 5, 1))
    assert engine.steps(7) == [{0: 1}, {0: 1}, {0: 1}, {2: 5}, {1: 5}, {1: 1}, {1: 1}]


def test_the_shortest_remaining_counts_and_not_the_shortest():
    engine = ByHand(SRPT(max_num_seqs=1))
    engine.send(request(0, 5, 6))
    assert engine.steps(2) == [{0: 5}, {0: 1}]
    # Request 0 has 4 left: one of 5 waits, one of 3 does not.
    engine.send(request(1, 5, 5))
    assert engine.steps(1) == [{0: 1}]
    engine.send(request(2, 5, 2))
    assert engine.steps(5) == [{2: 5}, {2: 1}, {0: 1}, {0: 1}, {0: 1}]


def test_a_predictor_decides_what_is_shortest():
    predictor = {"kind": "bucketed", "edges": [50, 1000], "accuracy": 0.0}
    engine = ByHand(SJF(max_num_seqs=1, predictor=predictor))
    engine.send(request(0, 5, 2), request(1, 5, 100))
    # Always the wrong bucket: the long one is taken for short.
    assert engine.step() == {1: 5}
    with pytest.raises(InputError, match="sigma"):
        SJF(predictor={"kind": "noisy", "sigma": -1.0})


def test_the_next_token_due_first_runs_and_those_ahead_of_their_pace_wait():
    # By hand, an iteration is a picosecond. Tokens of request 0 are due at 10, 14, 18; the first of request 1 at 14.
    engine = ByHand(EDF(max_num_seqs=1, ttft=10e-12, tpot=4e-12, lead=0.0))
    first, second = request(0, 5, 9), request(4, 5, 9)
    engine.send(first)
    assert engine.steps(1) == [{0: 5}]
    engine.send(second)
    # At 14 both are due: who runs goes on; its next is due at 18, so request 4 runs. Then they take turns.
    assert engine.steps(4) == [{0: 1}, {4: 5}, {4: 1}, {0: 1}]
    assert first.preemptions == second.preemptions == 0
    assert engine.kv.used > 5


def test_a_lead_keeps_the_batch_for_longer():
    engine = ByHand(EDF(max_num_seqs=1, ttft=10e-12, tpot=4e-12, lead=8e-12))
    engine.send(request(0, 5, 9))
    engine.steps(1)
    engine.send(request(4, 5, 9))
    # Request 0 goes on until its next token is due more than 8 ps after the other's first, which is due at 14.
    assert engine.steps(5) == [{0: 1}, {0: 1}, {0: 1}, {4: 5}, {4: 1}]


def test_edf_takes_no_memory_for_one_that_waits():
    engine = ByHand(EDF(max_num_seqs=4, ttft=10e-12, tpot=4e-12), blocks=20)
    first = request(0, 10, 4)
    engine.send(first)
    engine.steps(1)
    engine.send(request(1, 15, 1))
    assert engine.steps(4) == [{0: 1}, {0: 1}, {0: 1}, {1: 15}]
    assert first.preemptions == 0


@pytest.mark.parametrize("policy", [Priority, SJF, SRPT, EDF])
def test_limits_must_agree(policy):
    with pytest.raises(InputError, match="max_num_seqs"):
        policy(max_num_seqs=10, max_num_batched_tokens=5)
