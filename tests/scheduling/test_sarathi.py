"""Sarathi-Serve's rules, one plan at a time."""

import pytest
from support.stepping import Stepper

from simulator.core import InputError


def test_prompts_fill_what_decodes_leave_of_the_budget():
    engine = Stepper("sarathi", max_num_seqs=8, max_num_batched_tokens=10)
    for prompt in (6, 9, 3):
        engine.new(prompt)
    # Nobody who decodes ever sits out, and no iteration exceeds 10 tokens.
    assert engine.steps(3) == [{0: 6, 1: 4}, {0: 1, 1: 5, 2: 3}, {0: 1, 1: 1, 2: 1}]


def test_memory_for_the_whole_prompt_is_taken_at_its_start():
    engine = Stepper("sarathi", max_num_seqs=8, max_num_batched_tokens=10, blocks=30, watermark=0.0)
    engine.new(25)
    engine.new(8)
    assert engine.step() == {0: 10}
    assert engine.kv.free == 5
    # The second's 8 tokens fit into the budget beside the first's last 5, but not into memory.
    assert engine.steps(2) == [{0: 10}, {0: 5}]


def test_the_last_to_come_is_preempted_and_computed_again():
    engine = Stepper("sarathi", max_num_seqs=8, max_num_batched_tokens=20, blocks=20, watermark=0.0)
    first, last = engine.new(8, output=8), engine.new(8, output=8)
    engine.steps(2)
    assert engine.run() == [0, 1]
    assert (first.preemptions, last.preemptions) == (0, 1)


def test_a_share_of_memory_stays_free_when_others_run():
    engine = Stepper("sarathi", max_num_seqs=8, max_num_batched_tokens=100, blocks=100, watermark=0.1)
    engine.new(80)
    engine.new(11)
    assert engine.steps(2) == [{0: 80}, {0: 1}]


def test_turns_give_the_whole_budget_to_a_chunk_while_decodes_wait():
    engine = Stepper("sarathi_turns", max_num_seqs=8, max_num_batched_tokens=10)
    engine.new(6)
    engine.step()
    engine.new(25)
    assert engine.steps(6) == [{0: 1}, {1: 10}, {0: 1}, {1: 10}, {0: 1}, {1: 5}]
    assert engine.step() == {0: 1, 1: 1}


@pytest.mark.parametrize("params", [{"max_num_seqs": 513}, {"max_num_seqs": 0}, {"watermark": 1.0}])
def test_impossible_limits_are_refused(params):
    with pytest.raises(InputError):
        Stepper("sarathi", **params)
