"""What ``tokenyard run`` prints, writes and exits with, whatever the simulation says."""

import errno
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from support.small import SMALL

from simulator.cli.main import main
from simulator.core.errors import InputError
from simulator.experiment import runner

EXPERIMENT = (
    SMALL
    + """\
  instances: [{hardware: h100_sxm}]
compare: {one: {}, two: {cluster.router: round_robin}}
"""
)


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(EXPERIMENT)
    return file


def call(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


def test_json_is_the_summary_and_nothing_else(capsys, file, tmp_path):
    code, out, err = call(capsys, "run", file, "--out", tmp_path / "out", "--json", "--no-report")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((tmp_path / "out" / "small" / "summary.json").read_text())
    assert [run["name"] for run in json.loads(out)["runs"]] == ["one", "two"]


def test_the_table_is_followed_by_the_paths(capsys, file, tmp_path):
    code, out, _ = call(capsys, "run", file, "--out", tmp_path / "out", "--no-report")
    assert code == 0
    assert "one" in out
    assert f"Results: {tmp_path / 'out' / 'small'}" in out.replace("\n", "")


def test_the_report_is_written_unless_it_is_refused(capsys, file, tmp_path):
    folder = tmp_path / "out" / "small"
    call(capsys, "run", file, "--out", tmp_path / "out", "--no-report")
    assert not (folder / "report.html").exists()
    _, out, _ = call(capsys, "run", file, "--out", tmp_path / "out")
    assert (folder / "report.html").exists()
    assert "report.html" in out


def test_the_seed_option_is_the_seed(capsys, file, tmp_path):
    call(capsys, "run", file, "--out", tmp_path / "out", "--no-report", "--seed", "7")
    assert "seed: 7\n" in (tmp_path / "out" / "small" / "config.resolved.yaml").read_text()


def test_the_resolved_config_repeats_the_run(capsys, file, tmp_path):
    call(capsys, "run", file, "--out", tmp_path / "a", "--no-report")
    resolved = tmp_path / "a" / "small" / "config.resolved.yaml"
    code, _, _ = call(capsys, "run", resolved, "--out", tmp_path / "b", "--no-report")
    assert code == 0
    requests = "small/requests.parquet"
    assert (tmp_path / "a" / requests).read_bytes() == (tmp_path / "b" / requests).read_bytes()


def test_an_interrupted_run_says_what_is_there_and_exits_130(capsys, file, tmp_path, monkeypatch):
    summary = json.loads(call(capsys, "run", file, "--out", tmp_path / "out", "--json", "--no-report")[1])
    result = SimpleNamespace(summary=summary, folder=tmp_path / "out" / "small", interrupted=True)
    monkeypatch.setattr(runner, "run_experiment", lambda *args, **options: result)
    code, out, err = call(capsys, "run", file, "--out", tmp_path / "out", "--json")
    assert code == 130
    assert json.loads(out) == summary
    assert err == f"interrupted: what had finished is in {result.folder}\n"
    assert not (result.folder / "report.html").exists()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted: nothing had finished"),
        (InputError("too few", where="workload.requests"), 2, "small.yaml:5:13: too few"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/summary.json"), 1, "out/summary.json: No space left"),
    ],
)
def test_what_stops_a_run_is_one_line(capsys, file, tmp_path, monkeypatch, error, code, message):
    def stop(*args, **options):
        raise error

    monkeypatch.setattr(runner, "run_experiment", stop)
    got, out, err = call(capsys, "run", file, "--out", tmp_path / "out")
    assert (got, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_bug_keeps_its_traceback(file, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(runner, "run_experiment", fail)
    with pytest.raises(ZeroDivisionError):
        main(["run", str(file), "--out", str(tmp_path / "out")])


@pytest.mark.parametrize("words", [["schema"], ["--version"]], ids=" ".join)
def test_a_reader_that_has_left_gets_no_traceback(words):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "simulator.cli.main", *words], stdout=write_end, stderr=subprocess.PIPE, text=True
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_disk_behind_stdout_is_one_line():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "simulator.cli.main", "schema"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "Error: output: No space left on device\n"
