"""The largest rate within a bound, from a sweep and by bisection."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.experiment.reproductions.tools.capacity import crossing, max_rate
from simulator.experiment.reproductions.tools.seeds import Spread, by_seed


def test_a_sweep_is_straight_between_its_points():
    assert crossing([1, 2, 4], [0.1, 0.2, 0.6], 0.3) == pytest.approx(2.5)
    assert crossing([1, 2, 4], [0.1, 0.2, 0.3], 0.3) == 4
    assert crossing([1, 2, 4], [0.5, 0.6, 0.7], 0.3) == 1
    assert crossing([1, 2, 4], [0.1, 0.5, 0.2], 0.3) == pytest.approx(1.5), "the first excess counts"
    assert crossing([1, 2], [0.1, float("inf")], 0.3) == 1


@given(answer=st.floats(0.01, 1000), low=st.floats(0.05, 5), width=st.floats(1.1, 50))
def test_bisection_finds_the_rate_from_any_guess(answer, low, width):
    found = max_rate(lambda rate: rate / answer, 1.0, low, low * width, precision=0.01)
    assert found == pytest.approx(answer, rel=0.011)


def test_bisection_asks_no_rate_twice():
    asked = []
    max_rate(lambda rate: asked.append(rate) or rate, 3.0, 8.0, 16.0)
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("statistic", [0.0, 2.0])
def test_a_statistic_that_never_crosses_the_bound_is_an_error(statistic):
    with pytest.raises(ValueError, match="at any rate"):
        max_rate(lambda rate: statistic, 1.0, 1.0, 2.0)


def test_spread_over_seeds():
    assert Spread.of([1.0, 2.0, 3.0]) == (2.0, 1.0, (1.0, 2.0, 3.0))
    assert Spread.of([4.0]) == (4.0, 0.0, (4.0,))
    assert by_seed([1, 2, 3, 4, 5, 6], 3) == [[1, 2, 3], [4, 5, 6]]
