import gzip
import json

import pytest

from simulator.cli.main import main

YAML = """\
name: small
workload: {trace: azure_conv_2023, duration: 20s}
model: llama-3.1-8b
cluster: {instances: [{hardware: h100_sxm, scheduler: vllm}]}
"""


def _call(*args):
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    return end.value.code or 0


@pytest.fixture
def experiment(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(YAML, encoding="utf-8")
    return file


def test_the_flag_writes_what_the_command_writes(experiment, tmp_path, capsys):
    assert _call("run", experiment, "--out", tmp_path, "--no-report", "--timeline") == 0
    path = tmp_path / "small" / "timelines" / "small.json.gz"
    assert str(path) in capsys.readouterr().out
    written = path.read_bytes()
    path.unlink()
    assert _call("timeline", tmp_path / "small") == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_bytes() == written


def test_a_window_goes_to_the_file_that_is_named(experiment, tmp_path, capsys):
    assert _call("run", experiment, "--out", tmp_path, "--no-report", "--json", "--timeline") == 0
    json.loads(capsys.readouterr().out)
    out = tmp_path / "w.json.gz"
    assert _call("timeline", tmp_path / "small", "--run", "small", "--from", "5s", "--to", "6s", "--out", out) == 0
    times = [event["ts"] for event in json.loads(gzip.decompress(out.read_bytes()))["traceEvents"] if "ts" in event]
    assert min(times) >= 5e6 and max(times) <= 6e6


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--from", "5"], "--from: '5' has no unit"),
        (["--from", "5s", "--to", "2s"], "is empty"),
        (["--run", "smal"], "did you mean 'small'?"),
        (["--out", "no/such/folder.json.gz"], "there is no folder"),
    ],
)
def test_a_mistake_is_explained(experiment, tmp_path, capsys, args, message):
    assert _call("run", experiment, "--out", tmp_path, "--no-report") == 0
    capsys.readouterr()
    assert _call("timeline", tmp_path / "small", *args) == 2
    assert message in capsys.readouterr().err
