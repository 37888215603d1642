"""``tokenyard validate points|requests|open-loop|saturated|results|report``: verdict last, exit by it, one page."""

import csv
import json
from pathlib import Path

import pytest

from simulator.cli.main import main
from simulator.experiment.validation.point import read_points
from simulator.experiment.validation.points import simulate_point

EXPERIMENT = """\
name: mine
workload: {arrivals: {process: closed_loop, concurrency: 1}, prompt: {distribution: fixed, tokens: 5},
  output: {distribution: fixed, tokens: 5}, requests: 1}
model: llama-3.1-8b
cluster: {instances: [{hardware: h100_sxm}]}
"""
COLUMNS = ("system", "engine", "engine_version", "model", "tp", "isl_tokens", "osl_tokens", "concurrency",
           "mean_ttft_ms", "mean_tpot_ms", "origin", "flag")  # fmt: skip


def call(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main(["validate", *map(str, args)])
    return end.value.code or 0, capsys.readouterr()


def write_points(path, ttft=100.0, tpot=10.0, model="meta-llama/Llama-3.1-8B-Instruct"):
    row = ("h100_sxm", "vllm", "0.12.0", model, 1, 256, 16, 4, ttft, tpot, "inferencex", "")
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, row])
    return path


@pytest.fixture
def points(tmp_path):
    """Return a file with one point that the simulator is right about, but for a TTFT 8 % too low."""
    path = write_points(tmp_path / "serving_points.csv")
    outcome = simulate_point(read_points(path)[0])
    return write_points(path, outcome.ttft / 0.92, outcome.tpot)


def test_points_end_with_the_verdict(capsys, points):
    code, printed = call(capsys, "points", points)
    last = printed.out.splitlines()[-1]
    assert code == 0
    assert last == "TPOT MAPE 0.0% of 1 points (limit 5%), TTFT MAPE 8.0% of 1 (limit 10%), 0 not covered"
    assert "h100_sxm vllm 0.12.0" in printed.out


def test_an_engine_that_stands_in_is_named(capsys, points):
    points.write_text(points.read_text().replace("vllm,0.12.0", "sglang,0.5.5"))
    _, printed = call(capsys, "points", points)
    assert "h100_sxm sglang 0.5.5" in printed.out
    assert "- sglang has no profile: simulated as vllm" in printed.out


def test_points_beyond_the_tolerance_fail(capsys, points):
    assert call(capsys, "points", points, "--ttft-tolerance", "7%")[0] == 1
    assert call(capsys, "points", points, "--ttft-tolerance", "9%", "--tolerance", "0.1%")[0] == 0
    assert call(capsys, "points", write_points(points, tpot=1.0), "--ttft-tolerance", "100%")[0] == 1


def test_json_holds_the_figures_and_nothing_else(capsys, points):
    code, printed = call(capsys, "points", points, "--json")
    verdict = json.loads(printed.out)
    assert (code, verdict["overall"]["points"], verdict["verdict"]["within"]) == (0, 1, True)
    assert verdict["overall"]["ttft_mape"] == pytest.approx(0.08)
    assert verdict["groups"][0]["model"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert printed.err.splitlines()[-1] == verdict["verdict"]["text"]


def test_groups_can_be_chosen(capsys, points):
    verdict = json.loads(call(capsys, "points", points, "--json", "--group-by", "engine, concurrency")[1].out)
    assert (verdict["groups"][0]["engine"], verdict["groups"][0]["concurrency"]) == ("vllm", 4)
    code, printed = call(capsys, "points", points, "--group-by", "engin")
    assert code == 2 and "did you mean 'engine'" in printed.err


def test_nothing_covered_is_a_failure_with_the_reason(capsys, tmp_path):
    code, printed = call(capsys, "points", write_points(tmp_path / "p.csv", model="nobody/Unheard-13B"))
    assert code == 1
    assert "Unheard-13B" in printed.out and printed.out.splitlines()[-1].endswith("1 not covered")


@pytest.mark.parametrize("option", ["--tolerance", "--ttft-tolerance"])
def test_a_tolerance_is_a_percentage(capsys, points, option):
    code, printed = call(capsys, "points", points, option, "0.05")
    assert code == 2
    assert printed.err.strip() == f"Error: {option}: '0.05' is not a percentage (write it as 3%)"


def test_missing_data_is_the_users_mistake(capsys, tmp_path):
    for command in ("points", "open-loop", "saturated"):
        code, printed = call(capsys, command, tmp_path / "missing.csv")
        assert code == 2 and printed.err.startswith("Error: ")
    assert call(capsys, "requests", tmp_path)[0] == 2
    assert call(capsys, "report", "--data", tmp_path, "--out", tmp_path / "page.md")[0] == 2


def bench(tmp_path, ttft=0.02):
    result = {"request_throughput": 1.0, "total_input_tokens": 1, "max_concurrency": 2, "request_rate": "inf",
              "input_lens": [200] * 6, "output_lens": [9] * 6, "ttfts": [ttft] * 6,
              "itls": [[0.007] * 8] * 6}  # fmt: skip
    (tmp_path / "bench.json").write_text(json.dumps(result))
    (tmp_path / "mine.yaml").write_text(EXPERIMENT)
    return tmp_path / "bench.json", "--experiment", tmp_path / "mine.yaml"


def test_results_of_a_benchmark_are_held_against_an_experiment(capsys, tmp_path):
    code, printed = call(capsys, "results", *bench(tmp_path), "--tolerance", "100%", "--json")
    verdict = json.loads(printed.out)
    (run,) = verdict["groups"]
    assert (code, run["requests"], run["sent"]) == (0, 6, "closed loop of 2")
    assert run["measured_ms"]["ttft"]["mean"] == pytest.approx(20)
    wider = json.loads(
        call(capsys, "results", *bench(tmp_path), "--set", "cluster.instances[0].tensor_parallel=2", "--json")[1].out
    )
    assert wider["groups"][0]["predicted_ms"]["tpot"]["mean"] < run["predicted_ms"]["tpot"]["mean"]
    assert call(capsys, "results", *bench(tmp_path, ttft=1.0))[0] == 1


def test_results_need_one_system(capsys, tmp_path):
    file, option, experiment = bench(tmp_path)
    experiment.write_text(EXPERIMENT + "compare: {a: {}, b: {}}\n")
    code, printed = call(capsys, "results", file, option, experiment)
    assert code == 2 and "the experiment has 2 runs" in printed.err


def test_the_report_says_what_was_found(capsys, points, tmp_path):
    left_out = tmp_path / "calibration.json"
    row = {"group": "Some group", "metric": "tpot", "figures": 7, "fitted_mape": 0.031, "fitted_bias": 0.01,
           "held_out_mape": 0.077, "held_out_bias": -0.05}  # fmt: skip
    left_out.write_text(json.dumps({"leave_one_out": [row]}))
    page = tmp_path / "page.md"
    code, printed = call(capsys, "report", "--data", tmp_path, "--out", page, "--left-out", left_out)
    text = page.read_text()
    assert (code, printed.out.strip()) == (0, str(page))
    assert "| serving points, mean TTFT | 1 | 8.0% (-8.0%) |" in text
    assert "| Some group | TPOT | 7 | 3.1% (+1.0%) | 7.7% (-5.0%) |" in text
    assert "Every measured row was simulated." in text
    assert "![Predicted against measured](images/page.png)" in text
    assert (tmp_path / "images/page.png").read_bytes().startswith(b"\x89PNG")
    assert "## Recorded runs" not in text


def test_a_calibration_of_another_shape_is_refused(capsys, points, tmp_path):
    (tmp_path / "calibration.json").write_text("[]")
    options = ("--data", tmp_path, "--out", tmp_path / "page.md", "--left-out", tmp_path / "calibration.json")
    code, printed = call(capsys, "report", *options)
    assert code == 2 and "leave_one_out" in printed.err
    assert not Path(tmp_path / "page.md").exists()
