"""Learning to rank: by score, with a guard against starvation."""

import pytest
from support.by_hand import ByHand, request

from simulator.core import InputError
from simulator.scheduling.ltr import LearningToRank


def test_the_best_scores_run_and_take_the_slots_of_others():
    engine = ByHand(LearningToRank(max_num_seqs=2))
    engine.send(request(0, 5, 50), request(1, 5, 9), request(2, 5, 20))
    assert engine.steps(2) == [{1: 5, 2: 5}, {1: 1, 2: 1}]
    engine.send(request(3, 5, 2))
    assert engine.steps(3) == [{3: 5, 1: 1}, {3: 1, 1: 1}, {1: 1, 2: 1}]


def test_who_sat_out_for_long_goes_first_for_some_turns():
    engine = ByHand(LearningToRank(max_num_seqs=1, patience=5, turns=2))
    long_one = request(0, 3, 30)
    engine.send(long_one, request(1, 3, 20))
    given = engine.steps(14)
    ran = [n for n, step in enumerate(given) if 0 in step]
    # It waits five iterations, runs two, waits five again.
    assert ran == [5, 6, 12, 13]
    assert given[5] == {0: 3}
    assert long_one.preemptions == 0, "its KV stays while there is room"


@pytest.mark.parametrize("params", [{"patience": 0}, {"turns": 0}])
def test_impossible_parameters(params):
    with pytest.raises(InputError, match="patience"):
        LearningToRank(**params)
