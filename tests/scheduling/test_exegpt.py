"""ExeGPT's round-robin allocation: batches of prompts, a number of iterations apart."""

import pytest
from support.stepping import Stepper

from simulator.core import InputError
from simulator.scheduling.exegpt import ExeGPT


def prompts(steps: list[dict[int, int]]) -> dict[int, list[int]]:
    """Return by step who got a prompt then."""
    found = {at: [index for index, tokens in got.items() if tokens > 1] for at, got in enumerate(steps)}
    return {at: indices for at, indices in found.items() if indices}


def test_prompts_and_decodes_take_turns():
    engine = Stepper("exegpt", encode_batch=2, decode_iterations=3)
    for _ in range(5):
        engine.new(10, 20)
    assert prompts(engine.steps(12)) == {0: [0, 1], 4: [2, 3], 8: [4]}


def test_prompts_run_alone():
    engine = Stepper("exegpt", encode_batch=2, decode_iterations=3)
    for _ in range(4):
        engine.new(10, 20)
    assert engine.steps(5)[4] == {2: 10, 3: 10}


def test_the_batch_is_bounded_by_slots_and_memory():
    engine = Stepper("exegpt", encode_batch=4, decode_iterations=2, max_num_seqs=3)
    for _ in range(4):
        engine.new(10, 5)
    assert prompts(engine.steps(1)) == {0: [0, 1, 2]}
    engine = Stepper("exegpt", blocks=40, encode_batch=4, decode_iterations=2, spare=0.25)
    for _ in range(4):
        engine.new(10, 3)
    # A fourth would leave nothing to the others.
    assert prompts(engine.steps(1)) == {0: [0, 1, 2]}
    assert engine.run() == [0, 1, 2, 3]


@pytest.mark.parametrize("wrong", [{"encode_batch": 0}, {"decode_iterations": 0}, {"spare": 1.0}])
def test_what_cannot_be(wrong):
    with pytest.raises(InputError):
        ExeGPT(**wrong)
