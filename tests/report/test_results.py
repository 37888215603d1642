import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simulator.core.errors import InputError
from simulator.report import write_report
from simulator.report.results import read_results, runs_of


def test_a_run_reads_its_own_rows_only(three_runs):
    results = read_results(three_runs)
    for run, tables in zip(results.runs, results.tables, strict=True):
        columns = tables.requests(("completed", "arrival_s", "finished_s"))
        assert len(columns["arrival_s"]) == 300
        assert columns["completed"].sum() == run.metric("completed")
        assert np.isnan(columns["finished_s"]).sum() == run.metric("failed")


def test_run_names_may_be_dictionary_encoded(three_runs, tmp_path):
    table = pq.read_table(three_runs / "requests.parquet")
    encoded = table.set_column(0, "run", table["run"].dictionary_encode())
    pq.write_table(encoded, tmp_path / "requests.parquet")
    (tmp_path / "summary.json").write_bytes((three_runs / "summary.json").read_bytes())
    assert pa.types.is_dictionary(pq.read_schema(tmp_path / "requests.parquet").field("run").type)
    assert len(read_results(tmp_path).tables[2].requests(("arrival_s",))["arrival_s"]) == 300


@pytest.mark.parametrize(
    ("entry", "group"),
    [
        ({"name": "fcfs"}, "fcfs"),
        ({"name": "fcfs, workload.rate_scale=2.5"}, "fcfs"),
        ({"name": "llama-8b-tp2@12.5rps"}, "llama-8b-tp2"),
        ({"name": "rate=4"}, "exp"),
        ({"name": "x", "variant": "fcfs", "sweep": {"workload.rate_scale": 2}}, "fcfs"),
        ({"name": "x", "variant": "fcfs", "sweep": {"workload.rate_scale": 2, "cluster.count": 8}}, "fcfs, count=8"),
        ({"name": "x", "variant": "", "sweep": {"workload.rate_scale": 2}}, "exp"),
        ({"name": "x", "variant": "fcfs", "sweep": {"seed": 3}}, "fcfs"),
    ],
)
def test_runs_that_differ_in_rate_or_seed_alone_share_a_group(entry, group):
    (run,) = runs_of({"experiment": "exp", "runs": [{"metrics": {}, **entry}]})
    assert run.group == group


def test_failures_are_counted_by_reason(three_runs):
    fcfs, _, slow = read_results(three_runs).tables
    assert fcfs.failures() == {}
    assert slow.failures() == {"too large for the KV cache": slow.run.metric("failed")}


def _summary(folder: Path, text: str) -> None:
    (folder / "summary.json").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "schema None"),
        (json.dumps({"schema": 2}), "schema 2, but this version reads schema 1"),
        (json.dumps({"schema": 1, "experiment": "x", "runs": [{}]}), "not a summary of runs"),
        (json.dumps({"schema": 1, "experiment": "x", "runs": []}), "nothing to report"),
    ],
)
def test_a_damaged_summary_is_the_users_to_fix(tmp_path, text, message):
    _summary(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        write_report(tmp_path)
    assert caught.value.where == str(tmp_path / "summary.json")


def test_a_folder_without_results_says_so(tmp_path):
    with pytest.raises(InputError, match=r"no summary\.json here"):
        write_report(tmp_path)


@pytest.mark.parametrize("content", [None, b"x"])
def test_a_missing_or_damaged_table_is_named(three_runs, tmp_path, content):
    (tmp_path / "summary.json").write_bytes((three_runs / "summary.json").read_bytes())
    if content:
        (tmp_path / "requests.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"no requests\.parquet here|cannot be read"):
        write_report(tmp_path)
