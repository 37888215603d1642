"""``tokenyard compare`` and ``tokenyard inspect`` read what ``tokenyard run`` wrote."""

import json

import pytest

from simulator.cli.main import main

EXPERIMENT = """\
workload:
  arrivals: {process: poisson, rate: 20/s}
  prompt: {distribution: uniform, min: 20, max: 900}
  output: {distribution: uniform, min: 2, max: 60}
  requests: 40
model: llama-3.1-8b
cluster: {instances: [{hardware: h100_sxm}]}
slo: {ttft: 500ms}
compare: {one GPU: {}, two GPUs: {"cluster.instances[0].count": 2}}
"""


def call(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


@pytest.fixture
def results(capsys, tmp_path):
    (tmp_path / "small.yaml").write_text(EXPERIMENT)
    call(capsys, "run", tmp_path / "small.yaml", "--out", tmp_path / "out", "--no-report")
    return tmp_path / "out/small"


def test_compare_prints_differences_from_the_first(capsys, results, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = call(capsys, "compare", results)
    summary = json.loads((results / "summary.json").read_text())
    one, two = (run["metrics"]["gpu_hours"] for run in summary["runs"])
    assert code == 0
    (row,) = [line for line in out.splitlines() if line.startswith("GPU hours")]
    assert f"({two / one - 1:+.1%})" in row
    assert out.endswith("In brackets: difference from 'one GPU'.\n")


def test_compare_gives_json(capsys, results):
    code, out, _ = call(capsys, "compare", f"{results}/two GPUs", f"{results}/one GPU", "--json")
    found = json.loads(out)
    assert (code, found["base"]) == (0, "two GPUs")
    first, second = (run["metrics"]["gpu_hours"] for run in found["runs"])
    gap = found["runs"][1]["differences"]["gpu_hours"]
    assert gap == {"absolute": second - first, "relative": (second - first) / first}
    assert gap["absolute"] < 0


def test_compare_refuses_a_single_run(capsys, results):
    code, out, err = call(capsys, "compare", f"{results}/one GPU")
    assert (code, out) == (2, "")
    assert "one run alone has nothing to compare with" in err


def test_inspect_follows_a_request(capsys, results):
    code, out, _ = call(capsys, "inspect", results, "--run", "one GPU", "--request", 7)
    assert code == 0
    assert out.startswith("request 7 of run 'one GPU': completed\nTTFT ")
    for word in ("arrives", "admitted", "prefill iteration", "first token", "has decoded", "where its time went"):
        assert word in out
    _, out, _ = call(capsys, "inspect", f"{results}/one GPU", "--request", 7, "--json")
    way = json.loads(out)
    assert way["request"] == 7
    assert sum(way["spent_ms"].values()) == pytest.approx(way["e2el_ms"])


def test_inspect_lists_the_slowest(capsys, results):
    _, out, _ = call(capsys, "inspect", f"{results}/one GPU", "--json")
    rows = json.loads(out)["slowest"]
    assert len(rows) == 10
    assert [row["e2el_ms"] for row in rows] == sorted((row["e2el_ms"] for row in rows), reverse=True)
    _, table, _ = call(capsys, "inspect", f"{results}/one GPU")
    assert len(table.splitlines()) >= 11


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--request", 7], "2 runs are here (choose one with --run: 'one GPU', 'two GPUs')"),
        (["--run", "one GPUs"], "unknown run 'one GPUs' (did you mean"),
        (["--run", "one GPU", "--request", 99], "run 'one GPU' has no request 99"),
    ],
)
def test_inspect_says_what_is_wrong(capsys, results, args, message):
    code, out, err = call(capsys, "inspect", results, *args)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_compare_writes_a_page_of_whole_folders(capsys, results, tmp_path):
    page = tmp_path / "compare.html"
    code, _, err = call(capsys, "compare", results, "--page", page)
    assert (code, f"Page: {page}" in err) == (0, True)
    assert "two GPUs" in page.read_text()
    code, _, err = call(capsys, "compare", results, f"{results}/one GPU", "--page", page)
    assert (code, "not a results folder" in err) == (2, True)
