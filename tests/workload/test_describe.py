"""The numbers of a workload, checked on one small enough to count."""

import numpy as np
import pytest

from simulator.workload.describe import per_minute, summarise
from simulator.workload.table import ClosedLoop, PrefixTable, Workload


def test_a_workload_in_numbers():
    prefix = PrefixTable(np.array([0, 2, 3, 5]), np.array([1, 2, 1, 1, 3]), np.array([10, 60, 10, 10, 20]))
    seconds = np.array([0, 30, 90])
    workload = Workload("w", "s", seconds * 10**12, np.array([60, 20, 20]), np.array([1, 2, 3]), prefix=prefix)
    summary = summarise(workload)
    assert (summary.requests, summary.duration_s, summary.clients) == (3, 90.0, 0)
    assert summary.rate == pytest.approx(2 / 90)
    assert summary.gap_cv == pytest.approx(15 / 45)
    assert summary.prompt.mean == pytest.approx(100 / 3)
    assert (summary.total.min, summary.total.max, summary.total.percentiles[50]) == (22, 61, 23)
    assert summary.prefix_share == pytest.approx(20 / 100)
    assert per_minute(workload).tolist() == [2, 1]


def test_an_equal_id_at_another_end_is_not_shared():
    prefix = PrefixTable(np.array([0, 1, 2]), np.array([1, 1]), np.array([10, 12]))
    workload = Workload("w", "s", np.array([0, 1]), np.array([20, 20]), np.array([1, 1]), prefix=prefix)
    assert summarise(workload).prefix_share == 0


def test_a_closed_loop_has_no_rate():
    none = np.zeros(3, np.int64)
    summary = summarise(Workload("w", "s", none, none + 1, none + 1, closed_loop=ClosedLoop(2)))
    assert (summary.duration_s, summary.rate, summary.gap_cv) == (None, None, None)
