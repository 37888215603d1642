"""Request-level batching whose batches may move."""

import pytest
from support.stepping import Stepper

from simulator.core import InputError
from simulator.scheduling.whole_batches import WholeBatches


def test_a_batch_is_decoded_to_its_end_before_the_next_begins():
    engine = Stepper("whole_batches", max_num_seqs=2)
    for output in (3, 5, 2):
        engine.new(4, output)
    steps = engine.steps(8)
    assert [set(got) for got in steps if any(tokens > 1 for tokens in got.values())] == [{0, 1}, {2}]
    assert engine.answered == [0, 1, 2]


def test_memory_is_set_aside_for_whole_outputs():
    engine = Stepper("whole_batches", blocks=50, max_num_seqs=8)
    for _ in range(3):
        engine.new(10, 10)
    first = engine.step()
    assert set(first) == {0, 1}
    assert engine.policy.promised(engine.kv.used) == 38 - 20
    assert engine.run() == [0, 1, 2]
    assert engine.policy.promised(engine.kv.used) == 0


def test_one_that_just_fits_the_instance_is_served():
    engine = Stepper("whole_batches", blocks=7, block_size=8)
    engine.new(50, 7)  # its last token is never written, so 56 are enough
    assert engine.run() == [0]


def test_one_that_left_takes_its_room_along():
    engine = Stepper("whole_batches", blocks=50, max_num_seqs=8)
    requests = [engine.new(10, 10) for _ in range(3)]
    engine.step()
    policy, kv = engine.policy, engine.core.kv
    policy.withdraw(requests[0])
    kv.release(requests[0])
    assert requests[0].generated == 1
    assert policy.promised(kv.used) == 19 - kv.used
    # Who comes with its KV joins the batch in progress; who waits does not.
    kv.take(10)
    kv.adopt(requests[0], 10)
    policy.adopt(requests[0])
    assert set(engine.step()) == {0, 1}


def test_batches_of_none():
    with pytest.raises(InputError, match="max_num_seqs is 0"):
        WholeBatches(max_num_seqs=0)
