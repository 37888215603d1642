"""LightLLM's admission: the peak of memory, and three ways to guess at it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stepping import Stepper

from simulator.core import Request
from simulator.scheduling.peak_tokens import PeakTokens

LENGTHS = st.tuples(st.integers(1, 30), st.integers(0, 30))


def peak(members: list[tuple[int, int]]) -> int:
    """Return the most tokens that (held, left) come to, step by step."""
    longest = max((left for _, left in members), default=0)
    return max(sum(held + step for held, left in members if left >= step) for step in range(longest + 1))


@given(st.lists(LENGTHS, max_size=6), LENGTHS, st.integers(1, 150), st.integers(0, 5))
def test_the_first_iteration_at_which_a_request_fits_is_found(members, new, room, now):
    peaks = PeakTokens()
    for index, (held, left) in enumerate(members):
        peaks.add(Request(index, 0, 1, 1), held, left, now)
    # Until the first one ends: then the policy is asked again.
    until = min((left for _, left in members), default=0)
    fits = [
        step
        for step in range(until + 1)
        if peak([(held + step, left - step) for held, left in members] + [new]) <= max(room, 0)
    ]
    found = peaks.iterations_until_fits(*new, now, room)
    if fits:
        assert found == fits[0]
    else:
        assert found > until


def test_who_left_counts_no_more():
    peaks = PeakTokens()
    requests = [Request(index, 0, 1, 1) for index in range(3)]
    for request in requests:
        peaks.add(request, 10, 10, 0)
    assert peaks.iterations_until_fits(10, 10, 0, 60) > 10  # when they end
    peaks.remove(requests[1])
    assert peaks.iterations_until_fits(10, 10, 0, 60) == 0


def started(engine, steps):
    """Return in which step each request got its prompt."""
    return {index: step for step, got in enumerate(engine.steps(steps)) for index, tokens in got.items() if tokens > 1}


def test_conservative_admission_reserves_the_declared_output():
    engine = Stepper("lightllm", blocks=100, router="conservative", max_new_tokens=40, wait=1)
    for _ in range(3):
        engine.new(10, output=10)
    # 10 + 40 - 1 tokens each: two fit, though all three would with what they really make.
    assert started(engine, 12) == {0: 0, 1: 0, 2: 10}
    assert engine.run() == [2]


def test_who_adds_up_all_longest_outputs_lets_nobody_in_before_one_ended():
    def third(router):
        engine = Stepper("lightllm", blocks=120, router=router, max_new_tokens=40, wait=1)
        for _ in range(3):
            engine.new(10, output=30)
            engine.step()
        return started(engine, 40)[2]

    # 2 x 49 tokens and 49 more are too many for 120 if all end at once; by their ends, the third fits sooner.
    assert third("reserve") > third("conservative") > 0


def test_aggressive_admission_fills_memory_and_evicts_the_newest():
    engine = Stepper("lightllm", blocks=100, router="aggressive", wait=1)
    requests = [engine.new(33, output=20) for _ in range(3)]
    assert engine.step() == {0: 33, 1: 33, 2: 33}
    assert engine.steps(2) == [{0: 1, 1: 1}, {0: 1, 1: 1}]
    assert [request.preemptions for request in requests] == [0, 0, 1]
    assert engine.run() == [0, 1, 2]


def test_past_future_learns_what_outputs_are_like():
    def concurrent(past):
        engine = Stepper("lightllm", blocks=1000, router="past_future", max_new_tokens=900, wait=1)
        for _ in range(200):
            request = Request(10**6, 0, 1, past)
            engine.policy.finished(request)
        for _ in range(40):
            engine.new(10, output=50)
        engine.step()
        return len(engine.core.decodes)

    few, many = concurrent(800), concurrent(50)
    assert few < 5
    # 950 tokens hold 16 requests of 59, if nothing longer is expected of any.
    assert 13 <= many <= 16


def test_prompts_are_looked_for_every_so_many_iterations_found_or_not():
    engine = Stepper("lightllm", blocks=1000, router="conservative", max_new_tokens=50, wait=4)
    engine.new(10, output=50)
    engine.steps(6)
    engine.new(10, output=50)
    assert started(engine, 8) == {1: 3}


@pytest.mark.parametrize("seed", [0, 1])
def test_drawings_depend_on_the_seed_alone(seed):
    def run(seed):
        engine = Stepper("lightllm", blocks=300, max_new_tokens=100, wait=1, seed=seed)
        rng = np.random.default_rng(3)
        for length in rng.integers(1, 100, 200):
            engine.policy.finished(Request(10**6, 0, 1, int(length)))
        for _ in range(60):
            engine.new(int(rng.integers(1, 30)), output=int(rng.integers(1, 100)))
        return [tuple(sorted(step)) for step in engine.steps(300)]

    assert run(seed) == run(seed)
    assert run(0) != run(1)
