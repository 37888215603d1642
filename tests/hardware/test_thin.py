"""Thinned knots give back what was measured, within the limits, and keep every tooth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.hardware.grid import Axis, Grid
from simulator.hardware.thin import Errors, Limits, refill, thin

M = np.array([1, 2, 4, 8, 16, 17, 24, 32, 33, 48, 64, 65, 96, 128.0])


def axis(knots=M, scale="linear", name="m"):
    return Axis(name, np.asarray(knots, float), scale)


def errors(seconds, axes, kept):
    return np.abs(refill(seconds, axes, kept) / seconds - 1)


def test_a_line_needs_its_ends_only():
    seconds = (3e-6 + 1e-7 * M)[None]
    (kept,) = thin(seconds, [axis()], ["m"])
    assert M[kept].tolist() == [1, 128]


def test_a_power_law_needs_its_ends_only_on_a_log_axis():
    seconds = (1e-6 * M**0.7)[None]
    (kept,) = thin(seconds, [axis(scale="log")], ["m"])
    assert M[kept].tolist() == [1, 128]


def test_both_ends_of_a_tooth_stay():
    seconds = np.where(M <= 16, 30e-6, np.where(M <= 64, 60e-6 - 1e-7 * M, 90e-6 - 1e-7 * M))[None]
    (kept,) = thin(seconds, [axis()], ["m"])
    assert {16, 17, 64, 65} <= set(M[kept])
    assert 24 not in M[kept]


def test_a_lone_spike_stays_however_many_smooth_knots_surround_it():
    knots = np.arange(1.0, 200)
    seconds = np.where(knots == 77, 2e-6, 1e-6)[None]
    (kept,) = thin(seconds, [axis(knots)], ["m"])
    assert {76, 77, 78} <= set(knots[kept])
    assert len(kept) == 5


def test_held_knots_and_other_axes_stay():
    seconds = np.ones((2, 3, len(M)))
    n = axis([1, 2, 3], "log", "n")
    kept = thin(seconds, [n, axis()], ["m"], held=[17, 33])
    assert n.knots[kept[0]].tolist() == [1, 2, 3]
    assert M[kept[1]].tolist() == [1, 17, 33, 128]


def test_nothing_measured_becomes_a_hole():
    seconds = np.ones((2, len(M)))
    # The second grid ends at 33: whatever lies between its last knots must not depend on 48.
    seconds[1, 9:] = np.nan
    (kept,) = thin(seconds, [axis()], ["m"])
    assert not np.isnan(errors(seconds, [axis()], [kept])[~np.isnan(seconds)]).any()
    assert 33 in M[kept]


@given(st.integers(0, 2**32 - 1))
def test_the_limits_hold_over_all_and_for_each_knot_left_out(seed):
    rng = np.random.default_rng(seed)
    axes = [axis(scale="log", name="batch"), axis([1, 2, 3, 5, 8, 13.0], name="context")]
    batch, context = np.meshgrid(*(each.knots for each in axes), indexing="ij")
    seconds = (1e-6 + 1e-8 * batch * context)[None] * np.exp(rng.normal(0, 0.03, (3, len(M), 6)))
    limits = Limits()
    kept = thin(seconds, axes, ["batch", "context"], limits=limits)
    found = errors(seconds, axes, kept)
    whole = Errors.of(found)
    assert whole.median <= limits.median
    assert whole.p95 <= limits.p95
    for at, left in enumerate(kept):
        for knot in set(range(found.shape[at + 1])) - set(left):
            one = Errors.of(found.take(knot, at + 1))
            assert one.median <= limits.knot_median
            assert one.p95 <= limits.knot_p95


def test_refilling_is_what_a_grid_of_the_kept_knots_reads():
    rng = np.random.default_rng(1)
    axes = [axis(scale="log", name="batch"), axis([1, 2, 3, 5, 8, 13.0], name="context")]
    seconds = rng.uniform(1e-6, 1e-3, (1, len(M), 6))
    seconds[0, 4, 3] = np.nan
    kept = [np.array([0, 4, 7, 13]), np.array([0, 3, 5])]
    left = tuple(Axis(each.name, each.knots[keep], each.scale) for each, keep in zip(axes, kept, strict=True))
    grid = Grid("", "", left, seconds[0][np.ix_(*kept)])
    points = np.meshgrid(*(each.knots for each in axes), indexing="ij")
    np.testing.assert_allclose(refill(seconds, axes, kept)[0], grid.at(*points), rtol=1e-12)


def test_errors_of_nothing():
    assert Errors.of(np.array([np.nan])) == Errors(0.0, 0.0, 0)
    assert Errors.of(np.array([0.1, 0.3, np.nan])).samples == 2
    assert Errors.of(np.array([0.1, 0.3])).median == pytest.approx(0.2)
