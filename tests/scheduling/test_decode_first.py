"""Batches that finish before the next begins, one iteration at a time."""

import pytest
from support.by_hand import ByHand, request

from simulator.core import InputError
from simulator.scheduling.decode_first import DecodeFirst


def test_newcomers_wait_until_all_that_run_are_done():
    engine = ByHand(DecodeFirst())
    engine.send(request(0, 6, 3), request(1, 5, 2))
    assert engine.step() == {0: 6, 1: 5}
    engine.send(request(2, 4, 1))
    assert engine.steps(3) == [{0: 1, 1: 1}, {0: 1}, {2: 4}]
    assert engine.answered == [1, 0, 2]  # each when it is done


def test_a_batch_takes_no_more_than_slots_and_memory():
    engine = ByHand(DecodeFirst(max_num_seqs=2), blocks=20)
    engine.send(request(0, 4, 1), request(1, 4, 1), request(2, 4, 1), request(3, 18, 1))
    assert engine.steps(3) == [{0: 4, 1: 4}, {2: 4}, {3: 18}]


def test_the_last_to_come_is_computed_again_in_the_next_batch():
    engine = ByHand(DecodeFirst(), blocks=9)
    engine.send(request(0, 4, 4), request(1, 4, 3))
    assert engine.steps(5) == [{0: 4, 1: 4}, {0: 1}, {0: 1}, {0: 1}, {1: 5}]
    assert engine.policy.preempted == 1


def test_limits_below_one_are_refused():
    with pytest.raises(InputError):
        DecodeFirst(max_num_seqs=0)
