"""Request-level batching, one iteration at a time."""

import pytest
from support.by_hand import ByHand, request

from simulator.core import InputError
from simulator.engine.scheduler import FOREVER
from simulator.scheduling.static import Static


def test_prompts_run_up_to_the_shortest_and_then_token_by_token():
    engine = ByHand(Static())
    engine.send(request(0, 2, 5), request(1, 4, 2))
    assert engine.step() == {0: 2, 1: 2}
    # Request 1 still has two prompt tokens: its slot goes on beside the decode of request 0, both at 3 tokens.
    assert engine.step() == {0: 1}
    assert (engine.extras.idle, engine.extras.idle_context) == (1, 3)
    assert engine.plan.horizon == 1
    # Its last prompt token gives its first output token, one more the second.
    assert engine.steps(3) == [{0: 1, 1: 1}, {0: 1, 1: 1}, {0: 1}]
    assert (engine.extras.idle, engine.extras.idle_context) == (1, 6)
    assert sorted(engine.answered) == [0, 1]


def test_everybody_is_answered_with_the_last():
    engine = ByHand(Static())
    short, long = request(0, 3, 1), request(1, 3, 4)
    engine.send(short, long)
    assert engine.steps(3) == [{0: 3, 1: 3}, {1: 1}, {1: 1}]
    assert engine.answered == []
    assert engine.kv.used == 3 + 5  # the finished one keeps its memory
    engine.step()
    assert sorted(engine.answered) == [0, 1]
    assert short.finished_at == long.finished_at == 4
    assert engine.kv.used == 0


def test_newcomers_wait_for_the_end_of_the_batch():
    engine = ByHand(Static(max_num_seqs=2))
    engine.send(request(0, 3, 3), request(1, 3, 1), request(2, 3, 1))
    assert engine.step() == {0: 3, 1: 3}
    engine.send(request(3, 3, 1))
    assert engine.steps(3) == [{0: 1}, {0: 1}, {2: 3, 3: 3}]


def test_all_ends_though_nobody_decodes_while_a_prompt_goes_on():
    engine = ByHand(Static())
    engine.send(request(0, 2, 1), request(1, 5, 2), request(2, 5, 1))
    # Request 0 is done at once; the others go on with one prompt token each, all three slots as decodes for nobody.
    assert engine.steps(2) == [{0: 2, 1: 2, 2: 2}, {}]
    assert (engine.extras.idle, engine.extras.idle_context, engine.plan.horizon) == (3, 9, 2)
    assert engine.steps(3) == [{}, {1: 1, 2: 1}, {1: 1}]
    assert sorted(engine.answered) == [0, 1, 2]


def test_padded_prompts_are_computed_and_read_at_the_longest():
    engine = ByHand(Static(prompts="padded"))
    engine.send(request(0, 2, 2), request(1, 6, 3))
    assert engine.step() == {0: 2, 1: 6}
    assert [tokens for _, tokens in engine.extras.padded or ()] == [6, 6]
    assert engine.step() == {0: 1, 1: 1}
    # Request 0 reads 3 tokens of its own and 4 of padding; then its slot reads 8, as that of request 1.
    assert (engine.extras.idle, engine.extras.idle_context) == (0, 4)
    assert engine.step() == {1: 1}
    assert (engine.extras.idle, engine.extras.idle_context) == (1, 8)


def test_memory_for_the_longest_sequence_bounds_the_batch():
    engine = ByHand(Static(max_num_seqs=8, max_len=20), blocks=64)
    engine.send(*(request(index, 5, 5) for index in range(5)))
    assert len(engine.step()) == 3
    longer = ByHand(Static(max_num_seqs=8, max_len=20), blocks=64)
    longer.send(request(0, 30, 10), request(1, 5, 5), request(2, 5, 5))
    assert len(longer.step()) == 2


def test_a_batch_is_left_alone_until_it_changes():
    engine = ByHand(Static())
    engine.send(request(0, 2, 50), request(1, 10, 50))
    engine.step()
    engine.step()
    # Seven more steps of the longer prompt, then its last token.
    assert (engine.plan.horizon, engine.plan.arrivals_matter) == (7, False)
    engine.steps(8)
    assert (engine.plan.horizon, engine.plan.arrivals_matter) == (FOREVER, False)


@pytest.mark.parametrize("params", [{"max_num_seqs": 0}, {"max_len": 0}])
def test_limits_below_one_are_refused(params):
    with pytest.raises(InputError):
        Static(**params)
