"""``tokenyard run`` of a sweep: what it prints before, meanwhile and afterwards."""

import io
import json

import pytest

from simulator.cli.main import main
from simulator.cli.progress import PointsProgress

EXPERIMENT = """\
workload:
  arrivals: {process: poisson, rate: 20/s}
  prompt: {distribution: uniform, min: 20, max: 900}
  output: {distribution: uniform, min: 2, max: 60}
  requests: 40
model: llama-3.1-8b
cluster: {instances: [{hardware: h100_sxm}]}
"""
SWEEP = (
    EXPERIMENT
    + """\
compare: {free: {}, four at once: {"cluster.instances[0].scheduler.max_num_seqs": 4}}
sweep: {seeds: 5}
"""
)


@pytest.fixture
def call(capsys, tmp_path):
    """Return a function that runs an experiment's text with options and gives exit code, stdout and stderr."""

    def call(text, *args):
        (tmp_path / "small.yaml").write_text(text)
        with pytest.raises(SystemExit) as end:
            main(["run", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out"), *map(str, args)])
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return call


def test_the_table_says_which_differences_are_real(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = call(SWEEP, "--jobs", 1, "--no-report")
    assert (code, err) == (0, "0 of 10 points done\n")
    header, *rows = out.splitlines()
    assert header.rstrip().endswith("real?")
    (ttft,) = [row for row in rows if row.startswith("TTFT p99") and "four at once" in row]
    assert ttft.rstrip().endswith("yes")
    assert "a difference is from 'free', seed by seed" in out


def test_too_few_seeds_are_named(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = call(SWEEP.replace("seeds: 5", "seeds: 2"), "--jobs", 1, "--no-report")
    assert "too few seeds" in out
    assert "write 'seeds: 5'" in out


def test_json_is_the_summary_with_the_comparison(call, tmp_path):
    _, out, _ = call(SWEEP, "--jobs", 1, "--no-report", "--json")
    summary = json.loads(out)
    assert summary == json.loads((tmp_path / "out/small/summary.json").read_text())
    assert [point["name"] for point in summary["comparison"]["points"]] == ["free", "four at once"]


def test_a_dry_run_lists_the_points_and_writes_nothing(call, tmp_path):
    code, out, _ = call(SWEEP, "--dry-run", "--jobs", 2)
    assert code == 0
    assert "10 points, 10 to run: about" in out
    assert "on 2 processes (from a run of 500 requests)" in out
    assert not (tmp_path / "out").exists()


def test_a_dry_run_knows_what_is_done(call, tmp_path):
    call(SWEEP.replace("seeds: 5", "seeds: 2"), "--jobs", 1, "--no-report")
    plan = json.loads(call(SWEEP, "--dry-run", "--json")[1])
    assert [point["done"] for point in plan["points"]] == [True, True, False, False, False] * 2
    assert (plan["missing"], plan["estimate_from"]) == (6, "4 points that are done")
    assert plan["estimate_s"] > 0
    assert json.loads(call(SWEEP, "--dry-run", "--json", "--force")[1])["missing"] == 10
    done = json.loads(call(SWEEP.replace("seeds: 5", "seeds: 2"), "--dry-run", "--json")[1])
    assert (done["missing"], done["estimate_s"]) == (0, 0)


@pytest.mark.parametrize("option", [["--jobs", 2], ["--force"], ["--dry-run"], ["--backend", "ray"]])
def test_sweep_options_need_a_sweep(call, option):
    code, out, err = call(EXPERIMENT, *option)
    assert (code, out) == (2, "")
    assert f"{option[0]}: 'small.yaml' has no sweep" in err


def test_a_mistake_in_a_point_has_its_line(call):
    code, _, err = call(EXPERIMENT + "sweep:\n  workload.requests: [10, 0]\n", "--jobs", 1)
    assert code == 2
    assert "small.yaml:9:27: workload.requests: must be" in err


def test_progress_speaks_at_the_start_and_then_now_and_then():
    stream = io.StringIO()
    with PointsProgress(stream) as progress:
        for done in range(3, 11):
            progress(done, 10)
    assert stream.getvalue() == "3 of 10 points done\n"


def test_progress_is_silent_when_nothing_is_to_do():
    stream = io.StringIO()
    with PointsProgress(stream) as progress:
        progress(10, 10)
    assert stream.getvalue() == ""


def test_progress_says_how_long_is_left():
    stream = io.StringIO()
    progress = PointsProgress(stream)
    progress(2, 10)
    progress.started -= 60
    progress.next_line = 0
    progress(4, 10)
    assert stream.getvalue().splitlines()[1] == "4 of 10 points done, left about 0:03:00"
