"""Prompts before decodes, one iteration at a time."""

import pytest
from support.by_hand import ByHand, request

from simulator.core import InputError
from simulator.engine.scheduler import FOREVER
from simulator.scheduling.prefill_first import PrefillFirst


def test_decodes_wait_for_prompts():
    engine = ByHand(PrefillFirst())
    engine.send(request(0, 6, 3))
    assert engine.steps(2) == [{0: 6}, {0: 1}]
    engine.send(request(1, 5, 2))
    assert engine.steps(2) == [{1: 5}, {0: 1, 1: 1}]


def test_mixed_prompts_run_beside_the_decodes():
    engine = ByHand(PrefillFirst(mixed=True))
    engine.send(request(0, 6, 3))
    assert engine.steps(2) == [{0: 6}, {0: 1}]
    engine.send(request(1, 5, 2))
    assert engine.steps(2) == [{0: 1, 1: 5}, {1: 1}]


@pytest.mark.parametrize("mixed", [False, True])
def test_prompts_share_a_token_budget_and_a_longer_one_goes_alone(mixed):
    engine = ByHand(PrefillFirst(max_num_batched_tokens=10, mixed=mixed))
    engine.send(request(0, 6, 1), request(1, 4, 1), request(2, 20, 1), request(3, 1, 1))
    assert engine.steps(3) == [{0: 6, 1: 4}, {2: 20}, {3: 1}]


@pytest.mark.parametrize("mixed", [False, True])
def test_no_more_run_than_there_are_slots(mixed):
    engine = ByHand(PrefillFirst(max_num_seqs=2, mixed=mixed))
    engine.send(request(0, 4, 2), request(1, 4, 2), request(2, 4, 2))
    assert engine.steps(3) == [{0: 4, 1: 4}, {0: 1, 1: 1}, {2: 4}]


def test_the_last_to_come_gives_way_and_comes_back_first():
    # Both prompts fill 8 of 9 slots; one token more and request 1 has to go, with 2 tokens made.
    engine = ByHand(PrefillFirst(), blocks=9)
    engine.send(request(0, 4, 4), request(1, 4, 3))
    assert engine.steps(2) == [{0: 4, 1: 4}, {0: 1}]
    assert engine.policy.preempted == 1
    engine.send(request(2, 1, 1))
    # Request 1 comes back with its prompt and the token it had made as soon as 5 slots are free.
    assert engine.steps(3) == [{0: 1}, {0: 1}, {1: 5, 2: 1}]


def test_it_is_asked_again_only_when_something_can_change():
    engine = ByHand(PrefillFirst())
    engine.send(request(0, 4, 5))
    engine.step()
    assert (engine.plan.horizon, engine.plan.outlives_finishes) == (FOREVER, True)


def test_limits_below_one_are_refused():
    with pytest.raises(InputError):
        PrefillFirst(max_num_seqs=0)
