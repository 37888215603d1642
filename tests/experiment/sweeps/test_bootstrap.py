"""Intervals hold the true mean about as often as they say, and few values give none."""

import numpy as np
import pytest

from simulator.experiment.sweeps.bootstrap import FEWEST, Bootstrap


@pytest.mark.parametrize("count", [5, 6, 10, 20])
def test_the_interval_covers_the_mean_of_normal_values(count):
    rng, bootstrap, worlds = np.random.default_rng(7), Bootstrap(count), 400
    covered = 0
    for values in rng.normal(3.0, 2.0, (worlds, count)):
        low, high = bootstrap.interval(values)
        covered += low <= 3.0 <= high
    # The plain percentile interval covers 85 % for five values; 0.9 is more than three standard errors below 0.95.
    assert 0.9 < covered / worlds < 0.985


def test_the_interval_lies_within_the_values_and_around_their_mean():
    values = np.array([1.0, 2.0, 3.0, 4.0, 10.0, 4.0, 5.0])
    low, high = Bootstrap(7).interval(values)
    assert 1.0 < low < values.mean() < high < 10.0


def test_equal_values_have_no_spread():
    assert Bootstrap(5).interval(np.full(5, 2.5)) == pytest.approx((2.5, 2.5))


def test_too_few_values_have_no_interval():
    assert Bootstrap(FEWEST - 1).interval(np.arange(FEWEST - 1.0)) is None


def test_the_same_values_give_the_same_interval():
    values = np.random.default_rng(0).random(12)
    assert Bootstrap(12).interval(values) == Bootstrap(12).interval(values)
