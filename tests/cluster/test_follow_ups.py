"""Requests that follow others: sent when these end, counted as one answer, and failed with them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.worlds import ITERATION_PS, InstanceSetup, World, history, simulate, table, worlds

from simulator.experiment.metrics import RequestTable, summarize
from simulator.experiment.schema import Slo
from simulator.workload.table import ClosedLoop, FollowUps

SETUP = InstanceSetup("vllm", 8, 500, "fcfs", 3000, 1, False, 4096, ("fixed", (ITERATION_PS,)))


def following(workload, after, shown=None):
    shown = np.ones(len(after), bool) if shown is None else np.array(shown)
    return replace(workload, follow_ups=FollowUps(np.array(after, np.int64), shown))


def served(workload, **changes):
    outcome = simulate(World(workload, (replace(SETUP, **changes),), "round_robin", 0))
    return {request.index: request for request in outcome.requests}, outcome


def test_who_follows_is_sent_when_the_other_ends():
    requests, _ = served(following(table([(0, 5, 4), (0, 5, 2), (0, 5, 2), (0, 5, 1)]), [-1, 0, 0, 1]))
    assert requests[1].arrival == requests[2].arrival == requests[0].finished_at
    assert requests[3].arrival == requests[1].finished_at


def test_an_answer_is_what_is_shown_from_the_first_arrival_to_the_last_end():
    workload = following(table([(0, 5, 4), (0, 5, 2), (0, 5, 3), (7, 5, 1)]), [-1, 0, 0, -1], [False, True, True, True])
    requests, outcome = served(workload)
    answers = RequestTable.of(outcome.requests).answers()
    assert answers.output_tokens.tolist() == [5, 1]
    assert answers.arrival.tolist() == [0, 7]
    assert answers.first_token[0] == requests[1].first_token_at
    assert answers.finished[0] == requests[2].finished_at
    metrics = summarize(RequestTable.of(outcome.requests), outcome.ledgers, Slo(), 1)
    assert metrics["completed"] == 2
    assert metrics["mean_e2el_ms"] == pytest.approx(float(answers.e2el_ms().mean()))


def test_who_follows_a_request_that_failed_fails_too():
    _, outcome = served(following(table([(0, 5000, 4), (0, 5, 2), (0, 5, 2)]), [-1, 0, 1]))
    failed = RequestTable.of(outcome.requests)
    assert failed.failed.all() and outcome.ended == 3
    assert failed.answers().failed.tolist() == [True]
    assert "follows" in outcome.requests[2].failure


def test_a_client_waits_for_the_whole_answer():
    workload = following(table([(0, 5, 4), (0, 5, 2), (0, 5, 1)], closed_loop=ClosedLoop(1)), [-1, 0, -1])
    requests, _ = served(workload)
    assert requests[2].arrival == requests[1].finished_at


def test_a_selection_keeps_who_follows_whom():
    workload = following(table([(0, 5, 4), (1, 5, 2), (2, 5, 1)]), [-1, -1, 1]).take(np.array([1, 2]))
    assert workload.follow_ups.after.tolist() == [-1, 0]


@given(worlds(), st.integers(0, 2**32 - 1))
def test_the_fast_path_equals_exact_steps(world, seed):
    rng, count = np.random.default_rng(seed), len(world.workload)
    after = np.array([rng.integers(-1, row) if row and rng.random() < 0.5 else -1 for row in range(count)], np.int64)
    world = replace(world, workload=following(world.workload, after))
    fast, exact = simulate(world), simulate(world, exact_steps=True)
    assert [history(r) for r in fast.requests] == [history(r) for r in exact.requests]
    assert fast.ended == count
