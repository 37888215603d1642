import ctypes
import json

import pytest
from microbench import synthetic

from simulator.cli.main import main


def call(*words):
    with pytest.raises(SystemExit) as end:
        main(["calibrate", "gpu", *map(str, words)])
    return end.value.code or 0


def has_gpu():
    try:
        return ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except OSError:
        return False


def test_a_recorded_run_becomes_a_profile_with_plots(tmp_path, capsys):
    record = synthetic.write(tmp_path / "run.jsonl")
    assert call("--replay", record, "--out", tmp_path / "out") == 0
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    name = "synthetic_gpu_1000"
    assert written == [f"{name}-run.png", f"{name}.npz", f"{name}.png", f"{name}.svg", f"{name}.yaml"]
    shown = capsys.readouterr()
    assert f"{synthetic.NAME}: {len(synthetic.lines()) - 3} results, 0 errors" in shown.out
    assert "no shipped profile of this GPU" in shown.out
    assert "note: one GPU" in shown.out
    assert "wrote" in shown.err and "wrote" not in shown.out


def test_json_holds_the_comparison_and_nothing_else_is_printed(tmp_path, capsys):
    record = synthetic.write(tmp_path / "run.jsonl")
    into = tmp_path / "own.yaml"
    words = ("--replay", record, "--out", tmp_path / "out", "--into", into)
    assert call(*words, "--against", "h200_sxm", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["profile"], answer["against"], answer["cut_short"]) == (str(into), "h200_sxm", False)
    operators = {row["operator"] for row in answer["operators"]}
    assert operators == {"gemm", "prefill_attention", "decode_attention", "small operators"}
    assert all(row["ratio"] == pytest.approx(1.0, rel=0.05) for row in answer["fit"])
    # The same file again, into the same profile.
    assert call(*words) == 0
    assert "measured over the profile" not in capsys.readouterr().out


def test_a_run_in_two_files_and_cut_short_is_used_and_said_to_be(tmp_path, capsys):
    parts = synthetic.lines()
    first = synthetic.write(tmp_path / "a.jsonl", parts[:60])
    second = synthetic.write(tmp_path / "b.jsonl", [parts[0], *parts[60:-1]])
    assert call("--replay", first, "--replay", second, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert f"{synthetic.NAME}: {len(parts) - 3} results, 0 errors" in shown
    assert "cut short" in shown


def test_a_file_of_another_schema_is_bad_input(tmp_path, capsys):
    record = synthetic.write(tmp_path / "run.jsonl", [synthetic.machine(tokenyard_microbench=9)])
    assert call("--replay", record, "--out", tmp_path / "out") == 2
    assert "schema 9, this version reads 1 (upgrade tokenyard)" in capsys.readouterr().err


def test_an_unknown_profile_to_compare_with_is_bad_input(tmp_path, capsys):
    record = synthetic.write(tmp_path / "run.jsonl")
    assert call("--replay", record, "--out", tmp_path / "out", "--against", "h200") == 2
    assert "did you mean 'h200_sxm'" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.yaml"))


@pytest.mark.skipif(has_gpu(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so(tmp_path, capfd):
    assert call("--out", tmp_path / "out") == 1
    assert "no GPU can be used" in capfd.readouterr().err
    assert not (tmp_path / "out" / "run.jsonl").exists()
