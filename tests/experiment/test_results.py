"""The results folder: whole files or none, and every column of the two tables."""

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.ledgers import add_run
from support.worlds import table

from simulator.core import Request
from simulator.engine.ledger import Ledger
from simulator.experiment.metrics import RequestTable
from simulator.experiment.results import ResultsFolder

S = 10**12
REQUEST_COLUMNS = [
    "run", "request", "client", "priority", "instance", "arrival_s", "admitted_s", "first_token_s", "finished_s",
    "prompt_tokens", "output_tokens", "cached_tokens", "preemptions", "ttft_ms", "tpot_ms", "e2el_ms",
    "status", "reason",
]  # fmt: skip
ITERATION_COLUMNS = [
    "run", "instance", "start_s", "first_iteration_s", "growth_s", "iterations", "decode_requests", "prefill_requests",
    "prefill_tokens", "context_tokens", "waiting", "kv_blocks_used", "preemptions",
]  # fmt: skip


def requests():
    """Return a completed, a failed, an unfinished and a queued request."""
    done = Request(0, 1 * S, 100, 11, priority=2, client=1)
    done.instance, done.cached, done.preemptions = 3, 64, 1
    done.admitted_at, done.first_token_at, done.finished_at = 2 * S, 3 * S, 5 * S
    failed = Request(1, 2 * S, 5000, 10, client=0)
    failed.instance, failed.finished_at, failed.failure = 0, 2 * S, "5010 tokens exceed the context limit of 4096"
    running = Request(2, 3 * S, 100, 11)
    running.instance, running.admitted_at, running.first_token_at = 1, 3 * S, 4 * S
    queued = Request(3, 4 * S, 100, 11)
    queued.instance = 1
    return [done, failed, running, queued]


def workload():
    columns = table([(0, 100, 11)] * 4)
    return type(columns)(**{**vars(columns), "client": np.array([1, 0, -1, -1]), "clients": ("chat", "código")})


def written(tmp_path, runs=("one",)):
    with ResultsFolder(tmp_path / "out") as results:
        for run in runs:
            results.add_requests(run, RequestTable.of(requests()), workload())
            ledger = Ledger()
            add_run(ledger, start=S, first=S // 100, growth=S // 1000, iterations=7, decodes=3, context=4000, waiting=2,
                    blocks_used=90, preempted=1)  # fmt: skip
            add_run(ledger, start=2 * S, first=S // 10, iterations=1, prefills=2, prefill_tokens=512)
            results.add_iterations(run, [Ledger(), ledger])
    return tmp_path / "out"


def test_a_request_is_a_row(tmp_path):
    rows = pq.read_table(written(tmp_path) / "requests.parquet")
    assert rows.column_names == REQUEST_COLUMNS
    done, failed, running, queued = rows.to_pylist()
    assert done == {
        "run": "one", "request": 0, "client": "código", "priority": 2, "instance": 3,
        "arrival_s": 1.0, "admitted_s": 2.0, "first_token_s": 3.0, "finished_s": 5.0,
        "prompt_tokens": 100, "output_tokens": 11, "cached_tokens": 64, "preemptions": 1,
        "ttft_ms": 2000.0, "tpot_ms": 200.0, "e2el_ms": 4000.0, "status": "completed", "reason": None,
    }  # fmt: skip
    assert (failed["status"], failed["reason"]) == ("failed", "5010 tokens exceed the context limit of 4096")
    assert failed["client"] == "chat"
    unknown = ("admitted_s", "first_token_s", "ttft_ms", "tpot_ms", "e2el_ms")
    assert [failed[name] for name in unknown] == [None] * 5
    assert (running["status"], running["finished_s"], running["ttft_ms"]) == ("unfinished", None, 1000.0)
    assert running["client"] is None
    assert [queued[name] for name in unknown] == [None] * 5


def test_a_run_of_iterations_is_a_row(tmp_path):
    rows = pq.read_table(written(tmp_path) / "iterations.parquet")
    assert rows.column_names == ITERATION_COLUMNS
    decodes, prefills = rows.to_pylist()
    assert decodes == {
        "run": "one", "instance": 1, "start_s": 1.0, "first_iteration_s": 0.01, "growth_s": 0.001, "iterations": 7,
        "decode_requests": 3, "prefill_requests": 0, "prefill_tokens": 0, "context_tokens": 4000, "waiting": 2,
        "kv_blocks_used": 90, "preemptions": 1,
    }  # fmt: skip
    assert (prefills["prefill_requests"], prefills["prefill_tokens"]) == (2, 512)


def test_a_stretch_of_tokens_is_a_row(tmp_path):
    one, other = Ledger(), Ledger()
    add_run(one, start=S, first=S, iterations=1, prefills=2, prefill_tokens=512)
    add_run(one, start=2 * S, first=S // 10, iterations=4, decodes=2)
    add_run(one, start=3 * S, first=S, iterations=1, prefills=1)  # nobody decodes: a stall
    add_run(one, start=4 * S, first=S // 10, iterations=2, decodes=1)
    one.add_span(1, 0, 7, 0)
    one.add_span(0, 0, 2, 0)
    add_run(other, start=5 * S, first=S, iterations=3, decodes=1)
    other.add_span(0, 1, 2, 1)
    with ResultsFolder(tmp_path / "out") as results:
        results.add_spans("one", [one, other])
        results.add_spans("two", [Ledger()])
    rows = pq.read_table(tmp_path / "out/spans.parquet").to_pylist()
    assert [list(row.values()) for row in rows] == [
        ["one", 0, 0, 2.0, 2.2, 3],
        ["one", 0, 1, 7.0, 8.0, 2],
        ["one", 1, 0, 2.0, 4.2, 7],
    ]
    assert list(rows[0]) == ["run", "request", "instance", "first_token_s", "last_token_s", "tokens"]


def test_tables_are_copied_as_they_were_written(tmp_path):
    folder = written(tmp_path, ("one", "two"))
    with ResultsFolder(tmp_path / "copy") as results:
        results.copy_rows("requests.parquet", [folder])
        results.copy_rows("none.parquet", [folder])
    assert (tmp_path / "copy/requests.parquet").read_bytes() == (folder / "requests.parquet").read_bytes()
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["requests.parquet"]


def test_runs_follow_one_another_in_one_file(tmp_path):
    folder = written(tmp_path, ("one", "two"))
    assert pq.read_table(folder / "requests.parquet").column("run").to_pylist() == ["one"] * 4 + ["two"] * 4
    assert pq.read_table(folder / "iterations.parquet").column("run").to_pylist() == ["one"] * 2 + ["two"] * 2


def test_pandas_reads_what_arrow_wrote(tmp_path):
    frame = pq.read_table(written(tmp_path) / "requests.parquet").to_pandas()
    assert frame.tpot_ms.notna().sum() == 1
    assert frame.status.tolist() == ["completed", "failed", "unfinished", "unfinished"]


def test_a_failure_leaves_no_half_written_table(tmp_path):
    with pytest.raises(ZeroDivisionError), ResultsFolder(tmp_path / "out") as results:
        results.add_requests("one", RequestTable.of(requests()), workload())
        raise ZeroDivisionError
    assert list((tmp_path / "out").iterdir()) == []


def test_an_earlier_result_survives_until_the_new_one_is_whole(tmp_path):
    before = (written(tmp_path) / "requests.parquet").read_bytes()
    with ResultsFolder(tmp_path / "out") as results:
        results.add_requests("another", RequestTable.of(requests()), workload())
        assert (tmp_path / "out/requests.parquet").read_bytes() == before
    assert pq.read_table(tmp_path / "out/requests.parquet").column("run").to_pylist() == ["another"] * 4


def test_the_summary_is_json_and_a_table(tmp_path):
    runs = [{"name": f"run, {n}", "metrics": {"completed": n, "mean_ttft_ms": None}} for n in (1, 2)]
    with ResultsFolder(tmp_path / "out") as results:
        results.write_summary({"schema": 1, "experiment": "x", "runs": runs})
    assert json.loads((tmp_path / "out/summary.json").read_text())["runs"] == runs
    lines = (tmp_path / "out/summary.csv").read_text().splitlines()
    assert lines == ["name,completed,mean_ttft_ms", '"run, 1",1,', '"run, 2",2,']


def test_no_figure_is_written_that_is_no_json(tmp_path):
    with ResultsFolder(tmp_path / "out") as results, pytest.raises(ValueError, match="JSON"):
        results.write_summary({"runs": [{"name": "x", "metrics": {"mean": float("nan")}}]})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        ResultsFolder(tmp_path / "locked/out")


def test_only_texts_have_dictionaries(tmp_path):
    group = pq.read_metadata(written(tmp_path) / "requests.parquet").row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    encoded = {column.path_in_schema for column in columns if "RLE_DICTIONARY" in column.encodings}
    assert encoded == {"run", "client", "status", "reason"}
