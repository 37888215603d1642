"""ORCA's rules, one iteration at a time."""

import pytest
from support.by_hand import ByHand, request

from simulator.core import InputError
from simulator.engine.scheduler import FOREVER
from simulator.scheduling.orca import Orca


def test_whole_prompts_run_together_with_the_decodes_and_leave_one_by_one():
    engine = ByHand(Orca(max_len=10))
    engine.send(request(0, 6, 3))
    assert engine.step() == {0: 6}
    engine.send(request(1, 5, 2), request(2, 4, 1))
    assert engine.steps(2) == [{0: 1, 1: 5, 2: 4}, {0: 1, 1: 1}]
    assert engine.answered == [2, 0, 1]


def test_no_more_run_than_there_are_slots():
    engine = ByHand(Orca(max_num_seqs=2, max_len=10))
    engine.send(request(0, 4, 2), request(1, 4, 3), request(2, 4, 2))
    assert engine.steps(4) == [{0: 4, 1: 4}, {0: 1, 1: 1}, {1: 1, 2: 4}, {2: 1}]


@pytest.mark.parametrize(("reserve", "together"), [("max", 2), ("pow2", 4), ("oracle", 6)])
def test_memory_for_the_whole_sequence_is_reserved_before_a_start(reserve, together):
    # 64 slots; each of 5 + 5 tokens reserves 32, 5 + 8, or 10.
    engine = ByHand(Orca(reserve=reserve, max_len=32), blocks=64)
    engine.send(*(request(index, 5, 5) for index in range(10)))
    assert len(engine.step()) == together
    # Those that wait are let in when the first ones leave, after their fifth token.
    assert [len(given) for given in engine.steps(5)] == [together] * 4 + [min(together, 10 - together)]


def test_nobody_overtakes_the_one_that_finds_no_memory():
    engine = ByHand(Orca(reserve="oracle"), blocks=20)
    engine.send(request(0, 8, 2), request(1, 10, 2), request(2, 1, 1))
    assert engine.steps(3) == [{0: 8}, {0: 1}, {1: 10, 2: 1}]


def test_contiguous_memory_has_gaps():
    # 10 tokens take a piece of 16: two of them fill 32 slots, of which three would fit otherwise.
    for contiguous, together in ((True, 2), (False, 3)):
        engine = ByHand(Orca(reserve="oracle", contiguous=contiguous), blocks=32)
        engine.send(*(request(index, 5, 5) for index in range(4)))
        assert len(engine.step()) == together


def test_it_is_asked_again_only_when_something_can_change():
    engine = ByHand(Orca(max_num_seqs=1))
    engine.send(request(0, 4, 5), request(1, 4, 5))
    engine.step()
    assert (engine.plan.horizon, engine.plan.arrivals_matter) == (FOREVER, False)
    engine.step()
    assert (engine.plan.horizon, engine.plan.arrivals_matter) == (FOREVER, False)


@pytest.mark.parametrize("params", [{"max_num_seqs": 0}, {"max_len": 0}])
def test_limits_below_one_are_refused(params):
    with pytest.raises(InputError):
        Orca(**params)
