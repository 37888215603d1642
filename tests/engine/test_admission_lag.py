"""Asynchronous scheduling, where an engine decides while the iteration before runs; and the time in the server."""

import pytest

from simulator.core import InputError, Request
from simulator.cost.base import FixedCost
from simulator.engine.clock import ARRIVE, Clock, Moment
from simulator.engine.core import EngineCore
from simulator.engine.instance import Instance
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.scheduling.vllm import VLLM

STEP = 10**9


def serve(requests, *, lag=1, exact_steps=False, slots=8, blocks=1000, intake=0):
    """Run (arrival in steps, prompt, output) on one instance; return requests and core, times in steps."""
    clock = Clock()
    core = EngineCore(CountingPool(blocks, 4, reuse=True), VLLM(max_num_seqs=slots), Ledger(), 10**6)
    instance = Instance(
        clock, 0, core, FixedCost(STEP), lambda *_: None,
        exact_steps=exact_steps, admission_lag=lag, intake_ps=round(intake * STEP),
    )  # fmt: skip
    sent = [Request(index, round(at * STEP), *tokens) for index, (at, *tokens) in enumerate(requests)]
    for request in sent:
        Moment(clock, request.arrival, ARRIVE, lambda _, request=request: instance.submit(request))
    clock.run()
    core.kv.check_integrity()
    return sent, core


def admitted(requests):
    return [request.admitted_at / STEP for request in requests]


both_ways = pytest.mark.parametrize("exact_steps", [True, False])


@both_ways
@pytest.mark.parametrize(("arrival", "admission"), [(3.5, 5), (4, 5), (4.001, 6), (0, 0), (0.001, 2), (1, 2)])
def test_an_arrival_waits_for_the_iteration_already_decided(arrival, admission, exact_steps):
    # The prompt of request 0 is iteration 1, its decodes follow; who arrives in iteration j runs first in j + 2.
    requests, _ = serve([(0, 10, 30), (arrival, 10, 2)], exact_steps=exact_steps)
    assert admitted(requests) == [0, admission]
    assert requests[0].finished_at == 30 * STEP


@both_ways
def test_an_idle_engine_starts_at_once(exact_steps):
    requests, _ = serve([(0, 10, 3), (7.5, 10, 3), (10.2, 10, 1)], exact_steps=exact_steps)
    # The third comes in the second's last iteration; nothing was decided for the next, so it runs in that.
    assert admitted(requests) == [0, 7.5, 10.5]


@both_ways
def test_a_slot_is_free_one_iteration_late(exact_steps):
    requests, _ = serve([(0, 10, 4), (0, 10, 20), (1, 10, 3)], slots=2, exact_steps=exact_steps)
    assert requests[0].finished_at == 4 * STEP
    assert admitted(requests) == [0, 0, 5]


@both_ways
def test_memory_is_free_one_iteration_late(exact_steps):
    # 9 blocks of 4: 3 + 3 for the first two, of which one ends after 2 iterations; the third needs 5.
    waiting = [(0, 10, 2), (0, 10, 6), (0, 17, 1)]
    requests, _ = serve(waiting, blocks=9, exact_steps=exact_steps)
    assert (requests[0].finished_at, requests[2].admitted_at) == (2 * STEP, 3 * STEP)
    at_once, _ = serve(waiting, blocks=9, exact_steps=exact_steps, lag=0)
    assert (at_once[0].finished_at, at_once[2].admitted_at) == (2 * STEP, 2 * STEP)


@both_ways
def test_with_nothing_left_to_run_a_freed_slot_is_taken_at_once(exact_steps):
    requests, _ = serve([(0, 10, 4), (1, 10, 3)], slots=1, exact_steps=exact_steps)
    assert admitted(requests) == [0, 4]


@both_ways
def test_who_is_done_unheard_of_gives_way_first(exact_steps):
    # Request 0 holds 3 of 5 blocks and needs a fourth in iteration 6; request 1 holds 2 and is done after iteration 5.
    requests, _ = serve([(0, 8, 9), (0, 4, 5)], blocks=5, exact_steps=exact_steps)
    assert [request.preemptions for request in requests] == [0, 0]
    assert [request.finished_at / STEP for request in requests] == [9, 5]


def test_a_lone_long_request_costs_no_more_events_than_without_a_lag():
    def events(lag):
        clock = Clock()
        core = EngineCore(CountingPool(1000, 4, reuse=True), VLLM(), Ledger(), 10**6)
        instance = Instance(clock, 0, core, FixedCost(STEP), lambda *_: None, admission_lag=lag)
        for index, output in enumerate((500, 700, 900)):
            instance.submit(Request(index, 0, 10, output))
        clock.run()
        return clock.events

    assert events(1) == events(0)


@both_ways
def test_a_request_is_in_the_server_before_the_engine_queues_it(exact_steps):
    requests, _ = serve([(0, 10, 30), (3, 10, 2)], lag=0, intake=2.5, exact_steps=exact_steps)
    assert admitted(requests) == [2.5, 5.5]
    requests, _ = serve([(0, 10, 30), (3.1, 10, 2)], lag=0, intake=2.5, exact_steps=exact_steps)
    assert admitted(requests) == [2.5, 6.5]


def test_a_request_too_large_fails_before_the_intake():
    (request,), _ = serve([(1, 5000, 5)], blocks=10, intake=2)
    assert (request.finished_at, request.failure) == (STEP, "needs 1251 KV blocks, the instance has 10")


@pytest.mark.parametrize("wrong", [{"admission_lag": 2}, {"admission_lag": -1}, {"intake_ps": -1}])
def test_impossible_delays_are_refused(wrong):
    core = EngineCore(CountingPool(10, 4, reuse=True), VLLM(), Ledger(), 100)
    with pytest.raises(InputError, match=next(iter(wrong))):
        Instance(Clock(), 0, core, FixedCost(STEP), lambda *_: None, **wrong)
