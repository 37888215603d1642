import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simulator.report import style
from simulator.report.results import read_results
from simulator.report.timeline import SLICES, timeline_of
from simulator.report.timeline_plot import MOST_COLUMNS, figure_timeline


def _rewrite(folder, name, change):
    table = pq.read_table(folder / name)
    pq.write_table(change(table), folder / name)


def test_levels_are_means_over_time(make_results, tmp_path):
    """One stretch of 4 iterations of 1, 2, 3 and 4 s, so 10 s of a batch of 3, then nothing."""
    folder = make_results(tmp_path, [{"name": "a", "requests": 20}], instances=1)
    row = {"start_s": 0.0, "first_iteration_s": 1.0, "growth_s": 1.0, "iterations": 4, "decode_requests": 3,
           "waiting": 5, "kv_blocks_used": 1000, "preemptions": 2}  # fmt: skip

    def one_stretch(table):
        first = table.slice(0, 1).to_pylist()[0]
        return pa.Table.from_pylist([{**first, **row}], schema=table.schema)

    _rewrite(folder, "iterations.parquet", one_stretch)
    results = read_results(folder)
    timeline = timeline_of(results.tables[0])
    end, width = timeline.edges_s[-1], timeline.edges_s[1]
    assert end > 10
    full = int(10 / width)
    for name, level in (("decode", 3), ("waiting", 5), ("kv", 25)):
        series = timeline.series[name][0]
        assert series[:full] == pytest.approx(level)
        assert series[full + 1 :] == pytest.approx(0)
        assert series.sum() * width == pytest.approx(level * 10)
    assert timeline.series["preemptions"].sum() == 2


def test_every_request_is_counted_once(three_runs):
    results = read_results(three_runs)
    slow = results.runs[2]
    timeline = timeline_of(results.tables[2])
    assert timeline.series["waiting"].shape == (4, SLICES)
    assert timeline.unplaced == slow.metric("failed") > 0
    # Smoothing moves requests between slices but keeps a rate a rate.
    arrived = timeline.series["arriving"].sum() * timeline.edges_s[1]
    assert arrived == pytest.approx(300 - timeline.unplaced, rel=0.1)


def test_batch_never_exceeds_what_is_in_flight(three_runs):
    results = read_results(three_runs)
    requests = results.tables[0].requests(("admitted_s", "finished_s"))
    seconds = float(np.sum(requests["finished_s"] - requests["admitted_s"]))
    timeline = timeline_of(results.tables[0])
    batch = (timeline.series["decode"] + timeline.series["prefill"]).sum() * timeline.edges_s[1]
    assert batch == pytest.approx(seconds)


def test_a_run_in_which_nothing_reached_an_instance_has_no_timeline(make_results, tmp_path):
    results = read_results(make_results(tmp_path, [{"name": "a", "requests": 20, "failing": 1.1}]))
    assert timeline_of(results.tables[0]) is None


@pytest.mark.parametrize(("instances", "columns"), [(1, 1), (MOST_COLUMNS, MOST_COLUMNS), (MOST_COLUMNS + 1, 1)])
def test_instances_get_a_column_each_until_there_are_too_many(make_results, tmp_path, instances, columns):
    results = read_results(make_results(tmp_path, [{"name": "a", "requests": 120}], instances=instances))
    with style.plot_style():
        figure = figure_timeline(timeline_of(results.tables[0]))
    titles = [text.get_text() for text in figure.axes[0].texts]
    if columns == instances:
        assert titles == [f"instance {i}" for i in range(instances)]
    else:
        assert titles == [f"mean and range over {instances} instances"]
    units = [axes.get_ylabel().split("\n")[1] for axes in figure.axes]
    assert units[:4] == ["(req/s)", "(requests)", "(requests)", "in use (%)"]
    assert len(units) in (4, 5)
    load = next(line for line in figure.axes[0].lines if line.get_label() == "arriving")
    assert np.isnan(load.get_ydata()).sum() == (columns if columns == instances else 0)
    assert figure.get_supxlabel() == "simulated time (s)"


def test_preemptions_get_a_row_when_there_are_any(make_results, tmp_path):
    folder = make_results(tmp_path, [{"name": "a", "requests": 300, "rate": 40}], instances=1)
    results = read_results(folder)
    assert results.runs[0].metric("preemptions") > 0
    with style.plot_style():
        figure = figure_timeline(timeline_of(results.tables[0]))
    assert figure.axes[-1].get_ylabel() == "preemptions\n(count)"


def test_a_pool_of_unknown_size_says_so(make_results, tmp_path):
    folder = make_results(tmp_path, [{"name": "a", "requests": 50}])
    summary = json.loads((folder / "summary.json").read_text())
    summary["runs"][0]["cluster"]["kinds"][0]["kv_blocks"] = None
    (folder / "summary.json").write_text(json.dumps(summary))
    results = read_results(folder)
    with style.plot_style():
        figure = figure_timeline(timeline_of(results.tables[0]))
    said = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert "size not recorded" in said
