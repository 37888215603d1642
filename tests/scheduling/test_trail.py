"""TRAIL: by the bin of the tokens left, refined as they are made, with preemption only early on."""

import pytest
from support.by_hand import ByHand, request

from simulator.core import InputError
from simulator.scheduling.predictors import Predictor
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


class Says(Predictor):
    """Says of each request what it was told."""

    def __init__(self, *outputs):
        self.outputs = outputs

    def predict(self, request, made=0):
        return self.outputs[request.index]


def test_a_wrong_prediction_is_corrected_by_looking_again():
    engine = ByHand(TRAIL(max_num_seqs=1, longest=100))
    engine.policy.predictor = Says(25, 45)
    engine.send(request(0, 5, 80), request(1, 5, 45))
    given = engine.steps(12)
    # 80 tokens are taken for 25. After four tokens the error is 55 / sqrt(5): 76 - 24.6 = 51
    # tokens left are more than the 45 of the other.
    assert [min(step) for step in given] == [0] * 4 + [1] * 8


@pytest.mark.parametrize("params", [{"c": 1.5}, {"bins": 0}, {"bins": 600}])
def test_impossible_parameters(params):
    with pytest.raises(InputError, match="bins"):
        TRAIL(**params)
