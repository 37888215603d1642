"""Time before the cluster and time in which KV moved are phases of their own, in pictures and for one request."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from simulator.experiment.load import load_mapping
from simulator.experiment.runner import run_experiment
from simulator.experiment.stored.folder import find_runs
from simulator.experiment.stored.request_way import request_way, slowest
from simulator.report.breakdown import figure_time_spent, phases_of, read_phases, time_spent
from simulator.report.results import read_results
from simulator.report.trace_requests import read_requests

EXPERIMENT = {
    "name": "moved",
    "workload": {
        "arrivals": {"process": "poisson", "rate": "46/s"},
        "prompt": {"distribution": "uniform", "min": 20, "max": 900},
        "output": {"distribution": "uniform", "min": 1, "max": 200},
        "requests": 150,
    },
    "model": "llama-3.1-8b",
    "cluster": {
        "instances": [{"count": 2, "hardware": "h100_sxm", "kv_blocks": 500}, {"hardware": "h100_sxm", "count": 2}]
    },
    "compare": {
        "plain": {},
        "apart": {"cluster.instances[0].role": "prefill", "cluster.instances[1].role": "decode",
                  "techniques": [{"name": "rag", "retrieval": "300ms"}]},
        "migrating": {"cluster.migration": {"period": "20ms", "threshold": 40}},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moved")
    return run_experiment(load_mapping(EXPERIMENT, folder), folder).folder


def test_phases_tell_what_moved_and_add_up_to_the_latency(folder):
    moves = pq.read_table(folder / "moves.parquet").to_pandas()
    expected = {
        "plain": ["waiting", "prefill", "decode", "preempted"],
        "apart": ["lead", "waiting", "prefill", "transfer", "decode", "preempted"],
        "migrating": ["waiting", "prefill", "decode", "preempted", "migration"],
    }
    for tables in read_results(folder).tables:
        columns = read_phases(tables, ("e2el_ms", "request"))
        phases = phases_of(columns)
        assert list(phases) == expected[tables.run.name]
        assert sum(phases.values()) * 1000 == pytest.approx(columns["e2el_ms"])
        mine = moves[moves.run == tables.run.name]
        for kind in ("transfer", "migration"):
            stopped = mine[mine.kind == kind].groupby("request").stopped_s.sum()
            if len(stopped):
                seconds = phases[kind][np.argsort(columns["request"])]
                assert seconds[stopped.index] == pytest.approx(stopped.to_numpy())
                assert seconds.sum() == pytest.approx(stopped.sum()) and stopped.sum() > 0
        if tables.run.name == "apart":
            assert phases["lead"] == pytest.approx(0.3)
            assert phases["waiting"].max() < 0.3


def test_they_are_drawn_and_written_below(folder):
    figure = figure_time_spent([time_spent(each.run, read_phases(each)) for each in read_results(folder).tables])
    first, whole = figure.axes
    assert {"before the cluster", "paused by a migration"} <= set(whole.get_legend_handles_labels()[1])
    assert "before the cluster" in first.get_legend_handles_labels()[1]


def test_one_requests_way_names_them(folder):
    apart, migrating = find_runs(f"{folder}/apart")[0], find_runs(f"{folder}/migrating")[0]
    way = request_way(apart, 20)
    names = [event["event"] for event in way["events"]]
    assert names[:3] == ["arrives", "reaches the cluster", "admitted"]
    assert names[names.index("first token") :][:3] == ["first token", "KV transfer begins", "KV transfer ends"]
    assert way["spent_ms"]["lead"] == pytest.approx(300)
    (move,) = way["moves"]
    assert way["spent_ms"]["transfer"] == pytest.approx(move["stopped_s"] * 1000)
    for run in (apart, migrating):
        moved = {move["request"] for move in run.table("moves.parquet").to_pylist()}
        rows = run.table("requests.parquet").to_pylist()
        # Reading a way takes a file's scan: those that migrated, and every fifth.
        few = [row for row in rows if row["request"] % 5 == 0 or (run is migrating and row["request"] in moved)]
        for row in few:
            way = request_way(run, row["request"])
            assert sum(way["spent_ms"].values()) == pytest.approx(row["e2el_ms"])
            assert min(way["spent_ms"].values()) > -1e-6
            times = [event["at_s"] for event in way["events"]]
            assert times == sorted(times)
            assert ("migration" in way["spent_ms"]) == any(move["kind"] == "migration" for move in way["moves"])
    assert all(row["lead_ms"] == pytest.approx(300) and row["queue_ms"] < 300 for row in slowest(apart, 5))


def test_nobody_queues_in_a_timeline_before_the_cluster(folder):
    tables = read_results(folder).tables[1]
    requests = read_requests(tables, 0)
    admitted, arrival = (tables.requests((name,))[name] for name in ("admitted_s", "arrival_s"))
    queued = sum(each.end - each.start for each in requests.slices(0, requests.end) if each.phase == "queue")
    assert queued / 1e9 == pytest.approx((admitted - arrival - 0.3).sum(), abs=1e-5)
