"""TRAIL: by the bin of the tokens left, refined as they are made, with preemption only early on."""

import pytest
from support.by_hand import ByHand, request

from simulator.core import InputError
from simulator.scheduling.trail import TRAIL


@pytest.mark.parametrize(("c", "gives_way"), [(1.0, True), (0.5, True), (0.1, False)])
def test_a_request_gives_way_only_while_it_is_young(c, gives_way):
    engine = ByHand(TRAIL(max_num_seqs=1, c=c, longest=100))
    engine.send(request(0, 5, 40))
    engine.steps(10)  # 10 tokens made, 30 left: bin 3
    engine.send(request(1, 5, 5))
    assert engine.step() == ({1: 5} if gives_way else {0: 1})


def test_requests_of_one_bin_run_in_order_of_arrival():
    engine = ByHand(TRAIL(max_num_seqs=1, longest=100))
    engine.send(request(0, 5, 39))
    engine.steps(5)  # 34 left: bin 3, as the newcomer's 31
    engine.send(request(1, 5, 31))
    assert engine.step() == {0: 1}


def test_a_wrong_prediction_is_corrected_by_looking_again():
    engine = ByHand(TRAIL(max_num_seqs=1, longest=100, predictor={"kind": "bucketed", "edges": [10, 90], "accuracy": 0.0}))
    # Said to have 50 tokens to make, it has 4; and the long one is taken for short.
    short, long_one = request(0, 5, 4), request(1, 5, 80)
    engine.send(short, long_one)
    given = engine.steps(12)
    assert given[0] == {1: 5}
    ran_short = [n for n, step in enumerate(given) if 0 in step]
    assert ran_short and ran_short[0] < 6, "after a few tokens the long one is known to be long"


@pytest.mark.parametrize("params", [{"c": 1.5}, {"bins": 0}, {"bins": 600}])
def test_impossible_parameters(params):
    with pytest.raises(InputError, match="bins"):
        TRAIL(**params)
