"""What ``tokenyard plan`` prints, writes and exits with."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout

import pytest

from simulator.cli.main import main

PLAN = """\
workload:
  arrivals: {process: poisson, rate: 60/s}
  prompt: {distribution: uniform, min: 100, max: 1500}
  output: {distribution: uniform, min: 10, max: 150}
  requests: 500
model: llama-3.1-8b
cluster:
  instances: [{hardware: l40s}]
slo: {ttft: {p99: 300ms}}
objective: cost
budget: {gpus: 16}
space:
  hardware: [h100_sxm, l40s]
search: {probe: 200, finalists: 2}
"""


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Return the experiment's file, the folder of its plan, and what the command exited with, printed and noted."""
    folder, shown, noted = tmp_path_factory.mktemp("planned"), io.StringIO(), io.StringIO()
    (folder / "small.yaml").write_text(PLAN)
    with redirect_stdout(shown), redirect_stderr(noted), pytest.raises(SystemExit) as end:
        main(["plan", str(folder / "small.yaml"), "--out", str(folder / "out"), "--jobs", "1"])
    return folder / "small.yaml", folder / "out", (end.value.code or 0, shown.getvalue(), noted.getvalue())


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(PLAN)
    return file


def call(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


def test_the_answer_is_a_table_a_winner_its_confirmation_and_the_next_smaller(planned):
    _, folder, (code, out, err) = planned
    assert code == 0
    assert "Winner: " in out
    assert "confirmed by a run of its own" in out
    assert "fails: TTFT p99" in out
    assert "USD per million output tokens" in out
    assert "2 candidates" in err
    written = {path.name for path in (folder / "small").iterdir()}
    assert {"plan.json", "plan.html", "winner.yaml", "smaller.yaml", "simulations.jsonl", "small-winner"} <= written


def test_json_is_the_plan_and_nothing_else(capsys, planned):
    file, folder, _ = planned
    code, out, _ = call(capsys, "plan", file, "--out", folder, "--jobs", 1, "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer == json.loads((folder / "small" / "plan.json").read_text())
    for candidate in answer["candidates"]:
        assert {"name", "gpus", "cost_per_hour", "metrics", "feasible", "reason"} <= set(candidate)


def test_the_winners_file_is_ready_for_run(capsys, planned, tmp_path):
    winner = planned[1] / "small" / "winner.yaml"
    code, out, _ = call(capsys, "run", winner, "--out", tmp_path / "run", "--json", "--no-report")
    assert code == 0
    assert json.loads(out)["runs"][0]["metrics"]["p99_ttft_ms"] <= 300


def test_without_an_answer_it_exits_1_and_says_why_each_candidate_was_rejected(capsys, file, tmp_path):
    code, out, _ = call(capsys, "plan", file, "--out", tmp_path / "out", "--jobs", 1, "--set", "budget.gpus=1")
    assert code == 1
    assert "No candidate serves the load within the budget" in out
    assert out.count("with 1 GPU, the most within budget: TTFT p99") == 2


def test_a_mistake_is_one_message_and_exit_2(capsys, file, tmp_path):
    file.write_text(PLAN.replace("hardware: [h100_sxm, l40s]", "hardware: [h100_sxm, l40]"))
    code, out, err = call(capsys, "plan", file, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert "small.yaml:13" in err and "did you mean 'l40s'?" in err
