"""First come, first served: whole prompts, nobody overtakes."""

from support.by_hand import ByHand, request

from simulator.scheduling.fcfs import FCFS


def test_prompts_are_whole_and_run_beside_decodes():
    engine = ByHand(FCFS(max_num_seqs=3, max_num_batched_tokens=10))
    engine.send(request(0, 6, 3), request(1, 5, 2), request(2, 30, 2))
    # 6 and 5 exceed the budget together; the one of 30 exceeds it by itself, and goes by itself.
    assert engine.steps(3) == [{0: 6}, {0: 1, 1: 5}, {0: 1, 1: 1, 2: 30}]


def test_nobody_overtakes_one_that_waits_for_memory():
    engine = ByHand(FCFS(), blocks=20)
    engine.send(request(0, 10, 3), request(1, 15, 2), request(2, 1, 1))
    assert engine.steps(4) == [{0: 10}, {0: 1}, {0: 1}, {1: 15, 2: 1}]


def test_the_last_to_come_gives_memory_and_starts_again_before_newcomers():
    engine = ByHand(FCFS(), blocks=10)
    first, second = request(0, 4, 6), request(1, 4, 3)
    engine.send(first, second)
    assert engine.steps(2) == [{0: 4, 1: 4}, {0: 1, 1: 1}]
    engine.send(request(2, 1, 1))
    assert engine.steps(1) == [{0: 1}]
    assert (first.preemptions, second.preemptions) == (0, 1)
    given = engine.steps(4)
    assert given[:2] == [{0: 1}, {0: 1}]
    assert {1: 6, 2: 1} in given, "its prompt and two tokens, ahead of the newcomer"
