"""vLLM V0's rules, one iteration at a time: prompts alone, memory taken back from the last to come."""

import pytest
from support.by_hand import ByHand, request

from simulator.core import InputError
from simulator.scheduling.vllm_v0 import VLLMV0


def engine(*, blocks=1000, host_blocks=0, watermark=0.0, **params):
    return ByHand(VLLMV0(watermark=watermark, **params), blocks=blocks, host_blocks=host_blocks)


def test_decodes_wait_for_prompts():
    world = engine()
    world.send(request(0, 6, 3))
    assert world.steps(2) == [{0: 6}, {0: 1}]
    world.send(request(1, 5, 2))
    assert world.steps(2) == [{1: 5}, {0: 1, 1: 1}]


def test_prompts_share_slots_and_a_token_budget():
    world = engine(max_num_seqs=3, max_num_batched_tokens=10)
    world.send(request(0, 6, 9), request(1, 4, 9), request(2, 1, 9), request(3, 1, 9))
    assert world.steps(3) == [{0: 6, 1: 4}, {2: 1}, {0: 1, 1: 1, 2: 1}]


def test_a_watermark_stays_free_beside_those_that_run():
    # 6 of 20 slots stay free when another prompt comes in, but a prompt by itself may take more.
    world = engine(blocks=20, watermark=0.3)
    world.send(request(0, 16, 2), request(1, 2, 1))
    assert world.steps(3) == [{0: 16}, {0: 1}, {1: 2}]


def test_recompute_takes_from_the_last_to_come_and_starts_it_again_first():
    world = engine(blocks=14)
    first, second, third = request(0, 4, 8), request(1, 4, 4), request(2, 4, 3)
    world.send(first, second, third)
    # 12 slots of 14 are taken: the three tokens to come fit only without request 2. A newcomer stands behind it.
    assert world.steps(2) == [{0: 4, 1: 4, 2: 4}, {0: 1, 1: 1}]
    world.send(request(3, 1, 1))
    assert (third.preemptions, second.preemptions, world.kv.used) == (1, 0, 10)
    # Request 2 needs 5 slots: its prompt, and the token that it had made. They are free when request 1 leaves.
    assert world.steps(3) == [{0: 1, 1: 1}, {0: 1, 1: 1}, {2: 5, 3: 1}]
    assert world.steps(1) == [{0: 1, 2: 1}]


def test_swap_moves_the_last_to_come_to_the_host_and_back_before_any_prompt():
    world = engine(blocks=14, host_blocks=20, preemption="swap")
    first, second, third = request(0, 4, 5), request(1, 4, 4), request(2, 4, 3)
    world.send(first, second, third)
    assert world.steps(2) == [{0: 4, 1: 4, 2: 4}, {0: 1, 1: 1}]
    # Its 4 tokens go over the link before the iteration; nothing of it is left on the GPU.
    assert (world.extras.moved, world.host.free, world.kv.used) == (4, 16, 10)
    world.send(request(3, 1, 1))
    # The newcomer's prompt would fit, but nobody starts before the one that was swapped.
    assert world.steps(3) == [{0: 1, 1: 1}, {0: 1, 1: 1}, {0: 1, 2: 1}]
    assert (world.extras.moved, world.host.free) == (4, 20)
    # It goes on where it stopped, with no token computed twice.
    assert world.steps(2) == [{3: 1}, {2: 1}]
    assert third.generated == 3


def test_what_finds_no_room_on_the_host_is_computed_again():
    # 4 tokens are moved; it would not fit with its whole output, which no engine knows.
    world = engine(blocks=14, host_blocks=4, preemption="swap")
    world.send(request(0, 4, 8), request(1, 4, 8), request(2, 4, 8))
    world.steps(2)
    assert (world.extras.moved, world.host.free) == (4, 0)
    world.steps(2)
    assert world.kv.used == 14
    # Now request 1 has to go, and the host is full.
    assert world.step() == {0: 1}
    assert (world.extras.moved, len(world.policy.queue)) == (0, 1)


def test_a_prompt_beyond_the_budget_is_refused():
    assert VLLMV0(max_num_batched_tokens=300).longest_prompt == 300


@pytest.mark.parametrize(
    "params", [{"max_num_seqs": 0}, {"max_num_seqs": 10, "max_num_batched_tokens": 9}, {"watermark": 1.0}]
)
def test_impossible_parameters_are_refused(params):
    with pytest.raises(InputError):
        VLLMV0(**params)
