"""Inter-token latencies from the ledgers against every gap written out."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledgers import add_run
from support.worlds import simulate, token_times, worlds

from simulator.engine.latencies import InterTokenLatencies
from simulator.engine.ledger import Ledger


def gaps_of(outcome):
    """Return every gap between consecutive tokens of a request, ps."""
    return np.array([b - a for times in token_times(outcome).values() for a, b in pairwise(times)], dtype=np.float64)


@given(worlds(), st.sampled_from([0, 0.1, 25, 50, 90, 95, 99, 100]))
def test_order_statistics_are_those_of_all_gaps(world, percent):
    outcome = simulate(world)
    gaps, itl = gaps_of(outcome), InterTokenLatencies(outcome.ledgers)
    assert itl.count == len(gaps)
    if len(gaps):
        assert itl.mean() == pytest.approx(gaps.mean(), rel=1e-12)
        assert itl.percentile(percent) == pytest.approx(np.percentile(gaps, percent), rel=1e-12)
    else:
        assert np.isnan(itl.mean())
        assert np.isnan(itl.percentile(percent))


def run(ledger, start, first, growth, iterations, decodes):
    """Add a run of decode iterations."""
    add_run(ledger, start=start, first=first, growth=growth, iterations=iterations, decodes=decodes)


def prefill(ledger, start, duration):
    """Add an iteration with nothing but prompts."""
    add_run(ledger, start=start, first=duration, iterations=1, prefills=1)


def test_a_pause_is_one_gap():
    # Both requests end their prompts in iteration 0; request 0 sits out iterations 3 and 4.
    ledger = Ledger()
    prefill(ledger, 0, 10)
    run(ledger, 10, 12, 2, 2, 2)
    run(ledger, 36, 5, 0, 2, 1)
    run(ledger, 46, 7, 0, 2, 2)
    ledger.add_span(0, 0, 2, 0)  # tokens at 10, 22, 36
    ledger.add_span(0, 5, 6, 1)  # 53, 60
    ledger.add_span(1, 0, 6, 0)  # 10, 22, 36, 41, 46, 53, 60
    gaps = [12, 14, 17, 7, 12, 14, 5, 5, 7, 7]
    itl = InterTokenLatencies([ledger])
    assert itl.count == len(gaps)
    assert itl.mean() == pytest.approx(np.mean(gaps))
    for percent in (0, 30, 50, 77, 100):
        assert itl.percentile(percent) == pytest.approx(np.percentile(gaps, percent))


def test_pauses_may_lead_from_one_instance_to_another():
    first, second = Ledger(), Ledger()
    run(first, 0, 10, 0, 3, 1)
    run(second, 100, 20, 0, 2, 1)
    first.add_span(0, 0, 2, 1)
    second.add_span(0, 0, 1, 1)
    # Tokens at 10, 20, 30, then 120 and 140.
    itl = InterTokenLatencies([first, second])
    assert itl.count == 4
    assert [itl.percentile(p) for p in (0, 100)] == [10, 90]
    assert itl.mean() == pytest.approx((10 + 10 + 90 + 20) / 4)


def test_nothing_has_no_latency():
    itl = InterTokenLatencies([Ledger()])
    assert itl.count == 0
    assert np.isnan(itl.mean())


def test_a_duration_that_a_pause_replaces_is_no_gap():
    # The request skips iteration 2; iteration 3 takes 13, but from its last token it is 43.
    ledger = Ledger()
    prefill(ledger, 0, 10)
    run(ledger, 10, 12, 0, 1, 1)
    prefill(ledger, 22, 30)
    run(ledger, 52, 13, 0, 1, 1)
    ledger.add_span(0, 0, 1, 0)
    ledger.add_span(0, 3, 3, 1)
    itl = InterTokenLatencies([ledger])
    assert itl.count == 2
    assert [itl.percentile(percent) for percent in (0, 50, 100)] == [12, (12 + 43) / 2, 43]
    assert itl.mean() == (12 + 43) / 2


def test_the_mean_does_not_depend_on_how_iterations_are_grouped_into_runs():
    rng = np.random.default_rng(3)
    for _ in range(10):
        grouped, single, now = Ledger(), Ledger(), 0
        for _ in range(300):
            first, growth = int(rng.integers(10**11)), int(rng.integers(10**8))
            count, decodes = (int(number) for number in rng.integers(1, 100, 2))
            run(grouped, now, first, growth, count, decodes)
            for n in range(count):
                run(single, now, first + growth * n, 0, 1, decodes)
                now += first + growth * n
        assert InterTokenLatencies([grouped]).mean() == InterTokenLatencies([single]).mean()
