"""Runs of iterations in closed form against adding them up one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.ledgers import add_run

from simulator.engine.instance import iterations_until
from simulator.engine.ledger import RUN_COLUMNS, Ledger, iteration_ends

firsts = st.one_of(st.integers(1, 50), st.integers(1, 10**11))
growths = st.one_of(st.just(0), st.integers(1, 20), st.integers(1, 10**7))


@given(firsts, growths, st.integers(0, 200), st.integers(-1, 1))
def test_the_iteration_of_a_moment_is_the_first_that_ends_no_sooner(first, growth, count, off):
    ends = np.cumsum([first + growth * n for n in range(count + 2)]).tolist()
    # Ends themselves, and one picosecond beside them, are where a closed form would go wrong.
    elapsed = (ends[count - 1] if count else 0) + off
    expected = 0 if elapsed <= 0 else next(n for n, end in enumerate(ends, start=1) if end >= elapsed)
    assert iterations_until(elapsed, first, growth) == expected


@given(st.integers(1, 10**17), firsts, growths)
def test_the_iteration_of_any_moment_brackets_it(elapsed, first, growth):
    n = iterations_until(elapsed, first, growth)
    assert (n - 1) * first + growth * ((n - 1) * (n - 2) // 2) < elapsed <= n * first + growth * (n * (n - 1) // 2)


def test_a_moment_before_a_run_lies_in_no_iteration():
    assert iterations_until(-5, 10, 1) == iterations_until(0, 10, 1) == 0


@given(st.lists(st.tuples(st.integers(0, 10**6), firsts, growths, st.integers(1, 30)), min_size=1, max_size=12))
def test_iteration_ends_are_running_sums(runs):
    ledger, ends, now = Ledger(), [], 0
    for pause, first, growth, count in runs:
        now += pause
        add_run(ledger, start=now, first=first, growth=growth, iterations=count)
        for n in range(count):
            now += first + growth * n
            ends.append(now)
    numbers = np.arange(len(ends))
    assert iteration_ends(ledger.runs(), numbers).tolist() == ends
    backwards = numbers[::-1].reshape(-1, 1)
    assert iteration_ends(ledger.runs(), backwards).tolist() == [[end] for end in reversed(ends)]


def test_rows_come_back_under_their_names():
    ledger = Ledger()
    add_run(ledger, **{name: number for number, name in enumerate(RUN_COLUMNS)})
    add_run(ledger, **{name: number for number, name in enumerate(RUN_COLUMNS, start=100)})
    ledger.add_span(4, 0, 9, 1)
    assert ledger.runs().tolist() == [list(range(len(RUN_COLUMNS))), list(range(100, 100 + len(RUN_COLUMNS)))]
    assert ledger.spans().tolist() == [[4, 0, 9, 1]]
    assert Ledger().runs().shape == (0, len(RUN_COLUMNS))
