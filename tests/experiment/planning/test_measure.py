"""One simulation of a plan: on which requests, and when it may stop early."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.experiment.planning.load_plan import load_plan
from simulator.experiment.planning.measure import Load, busiest, measure
from simulator.experiment.planning.requirements import missed
from simulator.workload.build import build
from simulator.workload.table import Workload


def arriving(times):
    arrival = np.sort(np.array(times, np.int64))
    return Workload("w", "w", arrival, np.arange(1, len(arrival) + 1), np.ones(len(arrival), np.int64))


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30), st.integers(1, 40))
def test_busiest_is_the_shortest_stretch_of_so_many_requests_in_a_row(times, count):
    workload = arriving(times)
    part = busiest(workload, count)
    assert len(part) == min(count, len(workload))
    spans = [
        workload.arrival_ps[at + len(part) - 1] - workload.arrival_ps[at] for at in range(len(workload) - len(part) + 1)
    ]
    assert part.arrival_ps[-1] - part.arrival_ps[0] == min(spans)
    assert (np.diff(part.prompt_tokens) == 1).all(), "requests in a row"
    if len(part) < len(workload):
        assert part.arrival_ps[0] == 0


def test_a_load_at_another_rate_has_the_same_requests():
    load = Load("x", arriving(np.arange(0, 50) * 10**12))
    assert load.rate == pytest.approx(1)
    faster = load.at(8)
    assert faster.rate == pytest.approx(8)
    assert (faster.workload.prompt_tokens == load.workload.prompt_tokens).all()


@pytest.mark.parametrize("units", [1, 2, 3, 4])
def test_a_run_stopped_early_would_have_missed_and_one_that_meets_is_never_stopped(file, units):
    plan = load_plan(file)
    load = Load("whole", build(plan.spec.workload, 0, plan.folder))
    config = plan.candidates[0].sized(units)
    judged = measure(config, load, plan.requirements)
    full = measure(config, load, ())
    assert full["stopped"] is None
    if missed(plan.requirements, full):
        assert missed(plan.requirements, judged) or judged["stopped"] is not None
    else:
        assert judged == full


def test_an_overloaded_run_is_stopped_long_before_its_end(file):
    plan = load_plan(file)
    load = Load("whole", build(plan.spec.workload.model_copy(update={"requests": 9000}), 0, plan.folder))
    metrics = measure(plan.candidates[2].sized(1), load, plan.requirements)
    assert metrics["stopped"] < 3000
    assert missed(plan.requirements, metrics)
