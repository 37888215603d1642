"""Metrics: the names that DESIGN promises, their values by hand, and what is undefined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.worlds import simulate, worlds

from simulator.core import Request
from simulator.engine.ledger import Ledger
from simulator.experiment.metrics import RequestTable, summarize
from simulator.experiment.schema import Slo

MS = 10**9
LABELS = ("mean", "median", "p90", "p95", "p99")
SPREADS = [f"{label}_{name}_ms" for name in ("ttft", "tpot", "itl", "e2el") for label in LABELS]
NAMES = {
    "completed", "failed", "duration_s", "request_throughput", "output_throughput", "request_goodput", "slo_attainment",
    *SPREADS, "preemptions", "kv_transfers", "migrations", "gpu_hours",
}  # fmt: skip


def request(index, arrival, first=-1, finished=-1, *, output=5, failure=None, preemptions=0):
    """Return a request after its run; times in ms."""
    made = Request(index, arrival * MS, 10, output)
    made.first_token_at = first * MS if first >= 0 else -1
    made.finished_at = finished * MS if finished >= 0 else -1
    made.admitted_at = made.arrival if first >= 0 else -1
    made.failure = failure
    made.preemptions = preemptions
    return made


def metrics(requests, *, gpus=1, **slo):
    return summarize(RequestTable.of(requests), [Ledger()], Slo(**slo), gpus)


THREE = [
    request(0, 100, 150, 350, output=5, preemptions=2),
    request(1, 200, 300, 300, output=1),
    request(2, 300, 600, 2100, output=11, preemptions=1),
]


@pytest.mark.parametrize("requests", [THREE, [], [request(0, 0)], [request(0, 5, finished=5, failure="too long")]])
def test_the_names_are_always_all_there(requests):
    assert set(metrics(requests)) == NAMES
    assert set(metrics(requests, ttft="1s")) == NAMES


def test_figures_by_hand():
    got = metrics(THREE, gpus=4)
    assert (got["completed"], got["failed"], got["preemptions"]) == (3, 0, 3)
    assert got["duration_s"] == 2.0  # from 100 to 2100 ms
    assert got["request_throughput"] == 1.5
    assert got["output_throughput"] == 17 / 2
    assert got["mean_ttft_ms"] == pytest.approx((50 + 100 + 300) / 3)
    assert got["median_ttft_ms"] == 100
    assert got["p90_ttft_ms"] == pytest.approx(np.percentile([50, 100, 300], 90))
    # A one-token output has no time per further token.
    assert got["mean_tpot_ms"] == pytest.approx((200 / 4 + 1500 / 10) / 2)
    assert got["median_e2el_ms"] == 250
    assert got["gpu_hours"] == pytest.approx(4 * 2 / 3600)
    assert got["request_goodput"] is got["slo_attainment"] is None


@pytest.mark.parametrize(
    ("slo", "good"),
    [
        ({"ttft": "100ms"}, 2),  # the limit itself keeps the promise
        ({"ttft": "99ms"}, 1),
        ({"tpot": "50ms"}, 2),  # the one-token output has no TPOT to miss
        ({"tpot": "49ms"}, 1),
        ({"e2el": "250ms"}, 2),
        ({"ttft": "100ms", "tpot": "49ms"}, 1),
        ({"ttft": "1h", "tpot": "1h", "e2el": "1h"}, 3),
        ({"ttft": "1ms"}, 0),
    ],
)
def test_good_is_within_every_objective_that_is_set(slo, good):
    got = metrics(THREE, **slo)
    assert got["slo_attainment"] == pytest.approx(good / 3)
    assert got["request_goodput"] == pytest.approx(good / 2)


def test_failed_and_unfinished_requests_are_never_good():
    requests = [*THREE, request(3, 400, finished=400, failure="too long"), request(4, 400), request(5, 500, 700)]
    got = metrics(requests, ttft="1h")
    assert (got["completed"], got["failed"]) == (3, 1)
    assert got["slo_attainment"] == 0.5
    assert got["duration_s"] == 2.0
    assert got["mean_ttft_ms"] == metrics(THREE)["mean_ttft_ms"], "latencies are those of completed requests"


def test_nothing_completed_leaves_latencies_undefined():
    got = metrics([request(0, 100, finished=100, failure="too long")])
    assert all(got[name] is None for name in SPREADS)
    assert (got["completed"], got["failed"], got["duration_s"]) == (0, 1, 0)
    assert got["request_throughput"] is None


milliseconds = st.integers(1, 10**7)


@given(st.lists(st.tuples(milliseconds, milliseconds, milliseconds), min_size=1, max_size=60))
def test_percentiles_are_those_of_numpy(rows):
    requests = [request(n, came, came + wait, came + wait + rest) for n, (came, wait, rest) in enumerate(rows)]
    got = metrics(requests)
    columns = {"ttft": [wait for _, wait, _ in rows], "tpot": [rest / 4 for _, _, rest in rows],
               "e2el": [wait + rest for _, wait, rest in rows]}  # fmt: skip
    for name, values in columns.items():
        assert got[f"mean_{name}_ms"] == pytest.approx(np.mean(values), rel=1e-12)
        for label, percent in {"median": 50, "p90": 90, "p95": 95, "p99": 99}.items():
            assert got[f"{label}_{name}_ms"] == pytest.approx(np.percentile(values, percent), rel=1e-12)


@given(worlds())
def test_metrics_of_a_simulation_add_up(world):
    outcome = simulate(world)
    got = summarize(RequestTable.of(outcome.requests), outcome.ledgers, Slo(), 2)
    done = [r for r in outcome.requests if r.failure is None]
    assert got["completed"] == len(done)
    assert got["failed"] == len(outcome.requests) - len(done)
    assert got["preemptions"] == sum(r.preemptions for r in outcome.requests)
    if done and got["duration_s"]:
        assert got["output_throughput"] * got["duration_s"] == pytest.approx(sum(r.output_tokens for r in done))
    further = sum(r.output_tokens - 1 for r in done)
    if further:
        # The mean gap between tokens is the decoding time of all requests over their further tokens.
        spent = sum(r.finished_at - r.first_token_at for r in done)
        assert got["mean_itl_ms"] == pytest.approx(spent / further / MS, rel=1e-9)
    else:
        assert got["mean_itl_ms"] is None
