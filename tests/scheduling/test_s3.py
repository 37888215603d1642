"""S3's packing and its second tries, one iteration at a time."""

import pytest
from support.by_hand import ByHand, request

from simulator.core import InputError
from simulator.scheduling.s3 import S3


def test_the_bin_of_the_output_is_reserved():
    # Bins of 10 tokens: outputs of 5 and 12 reserve 10 and 20 beside their prompts of 5; 50 slots hold two of them.
    engine = ByHand(S3(max_len=100, bins=10), blocks=50)
    engine.send(request(0, 5, 5), request(1, 5, 12), request(2, 5, 12))
    assert engine.step() == {1: 5, 2: 5}
    one_bin = ByHand(S3(max_len=40, bins=1), blocks=50)
    one_bin.send(request(0, 5, 5), request(1, 5, 12))
    assert one_bin.step() == {0: 5}


def test_the_largest_that_fits_goes_first():
    engine = ByHand(S3(max_len=100, bins=10), blocks=60)
    engine.send(request(0, 5, 10), request(1, 5, 40), request(2, 5, 20))
    # 45, then 25 doesn't fit into the 15 left, but 15 does.
    assert engine.step() == {1: 5, 0: 5}


def test_whoever_outgrows_its_memory_is_computed_again_with_twice_as_much():
    engine = ByHand(S3(max_len=8, bins=2, accuracy=0.0), blocks=100)
    engine.send(request(0, 5, 7))
    # Of two bins, 1 to 4 and 5 to 8, a wrong classifier takes the first. The KV of 4 output tokens fits, so 5
    # tokens are made (the last one's is not written yet); then it starts anew with room for 8.
    assert engine.steps(6) == [{0: 5}, {0: 1}, {0: 1}, {0: 1}, {0: 1}, {0: 10}]
    assert engine.policy.preempted == 1
    assert engine.steps(1) == [{0: 1}]
    assert engine.answered == [0]


def test_overestimates_only_cost_memory():
    engine = ByHand(S3(max_len=8, bins=2, accuracy=0.0), blocks=100)
    engine.send(request(0, 5, 3))
    assert engine.steps(3) == [{0: 5}, {0: 1}, {0: 1}]
    assert engine.answered == [0]
    assert engine.policy.preempted == 0


def test_outputs_beyond_the_last_bin_are_tried_with_twice_as_much():
    engine = ByHand(S3(max_len=4, bins=1), blocks=100)
    engine.send(request(0, 2, 10))
    engine.steps(10)
    assert engine.answered == [0]
    assert engine.policy.preempted == 2  # with room for 4 and for 8


def test_a_share_of_the_bins_is_wrong():
    policy = S3(max_len=100, bins=10, accuracy=0.8)
    ByHand(policy)
    requests = [request(index, 1, 45) for index in range(2000)]
    for each in requests:
        policy.add(each)
    granted = [policy._granted[each] for each in requests]
    assert set(granted) == {40, 50, 60}
    assert 0.77 < granted.count(50) / len(granted) < 0.83


@pytest.mark.parametrize("params", [{"max_num_seqs": 0}, {"bins": 0}, {"bins": 3000}, {"accuracy": 1.5}])
def test_impossible_parameters_are_refused(params):
    with pytest.raises(InputError):
        S3(**params)
