import numpy as np
import pytest

from simulator.report import attainment, style
from simulator.report.results import read_results, runs_of


def _attainments(folder):
    tables = read_results(folder).tables
    return [attainment.attainment_of(each.run, each.requests(attainment.COLUMNS)) for each in tables]


def test_slices_add_up_to_the_share_in_the_summary(three_runs):
    for each in _attainments(three_runs):
        assert each.arrived.sum() == 300
        good = np.nansum(each.share * each.arrived) / 100
        assert good / 300 == pytest.approx(each.run.metric("slo_attainment"))


def test_the_real_runs_metric_is_met_too(real_results):
    for each in _attainments(real_results):
        share = np.nansum(each.share * each.arrived) / each.arrived.sum() / 100
        assert share == pytest.approx(each.run.metric("slo_attainment"))


def test_a_request_is_judged_when_it_arrived():
    """Two that arrive at 0 s keep the limit, two at 10 s miss it; a single token has no TPOT to miss; one failed."""
    (run,) = runs_of({"experiment": "e", "runs": [{"name": "a", "metrics": {}, "slo": {"ttft_ms": 5, "tpot_ms": 1}}]})
    nothing = np.nan
    columns = {
        "completed": np.array([True, True, True, True, False]),
        "arrival_s": np.array([0.0, 0.0, 10.0, 10.0, 10.0]),
        "ttft_ms": np.array([5.0, 4.0, 6.0, 5.0, nothing]),
        "tpot_ms": np.array([1.0, nothing, 1.0, 2.0, nothing]),
        "e2el_ms": np.array([9.0, 9.0, 9.0, 9.0, nothing]),
    }
    assert list(attainment.good_requests(run, columns)) == [True, True, False, False, False]
    found = attainment.attainment_of(run, {name: np.tile(column, 10) for name, column in columns.items()})
    assert list(found.arrived) == [20, 30] and list(found.share) == [100, 0]


def test_without_an_slo_there_is_nothing_to_draw(make_results, tmp_path):
    assert _attainments(make_results(tmp_path, [{"name": "a", "requests": 20}], judged=False)) == [None]


def test_the_figure_has_a_line_a_run(three_runs):
    with style.plot_style():
        figure = attainment.figure_attainment(_attainments(three_runs))
    assert [line.get_label() for line in figure.axes[0].lines] == ["fcfs", "skip-join mlfq", "slow"]
    assert figure.axes[0].get_ylabel() == "within the SLO (%)"
