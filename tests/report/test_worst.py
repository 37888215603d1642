import numpy as np
import pyarrow.parquet as pq
import pytest

from simulator.report.breakdown import phases_of, read_phases
from simulator.report.results import read_results
from simulator.report.worst import MOST, worst_of


def test_the_worst_miss_their_limit_by_the_largest_factor(three_runs):
    tables = read_results(three_runs).tables[2]
    worst = worst_of(tables)
    columns = tables.requests(("completed", "ttft_ms", "tpot_ms"))
    over = np.fmax(columns["ttft_ms"] / 500, columns["tpot_ms"] / 50)[columns["completed"]]
    assert [each.over for each in worst.requests] == pytest.approx(np.sort(over)[::-1][:MOST])
    for each in worst.requests:
        assert sum(each.phases_s.values()) == pytest.approx(each.facts["e2el_ms"] / 1000)
    assert worst.failures == {"too large for the KV cache": tables.run.metric("failed")}


def test_without_an_slo_the_slowest_are_the_worst(make_results, tmp_path):
    tables = read_results(make_results(tmp_path, [{"name": "a", "requests": 50}], judged=False)).tables[0]
    latencies = [each.facts["e2el_ms"] for each in worst_of(tables).requests]
    assert latencies == sorted(tables.requests(("e2el_ms",))["e2el_ms"], reverse=True)[:MOST]


def test_pauses_of_preempted_requests_are_a_phase_of_their_own(real_results):
    roomy, tight, _ = read_results(real_results).tables
    assert tight.run.metric("preemptions") > 0
    assert "preempted" not in phases_of(read_phases(roomy))
    columns = read_phases(tight, ("preemptions", "e2el_ms"))
    phases = phases_of(columns)
    assert list(phases) == ["waiting", "prefill", "decode", "preempted"]
    assert set(np.flatnonzero(phases["preempted"])) <= set(np.flatnonzero(columns["preemptions"]))
    assert phases["preempted"].sum() > 0 and phases["decode"].min() >= 0
    assert sum(phases.values()) * 1000 == pytest.approx(columns["e2el_ms"])


def test_phases_that_the_file_names_are_taken_from_it(make_results, tmp_path):
    folder = make_results(tmp_path, [{"name": "a", "requests": 30}])
    table = pq.read_table(folder / "requests.parquet")
    before = phases_of(read_phases(read_results(folder).tables[0]))
    longer = before["decode"] + 0.001
    pq.write_table(table.append_column("migration_s", [longer]), folder / "requests.parquet")
    after = phases_of(read_phases(read_results(folder).tables[0]))
    # What does not fit into the decoding was a pause in the prefill.
    assert after["migration"] == pytest.approx(longer) and after["decode"] == pytest.approx(0, abs=1e-12)
    assert sum(after.values()) == pytest.approx(sum(before.values()))
