"""``tokenyard profiles``: listing, showing, comparing, checking and importing, with their exit codes."""

import json
import shutil
from pathlib import Path

import pytest

from simulator.cli.main import main
from simulator.core.data import data_dir


def run(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main(["profiles", *map(str, args)])
    shown = capsys.readouterr()
    return end.value.code or 0, shown.out, shown.err


def test_without_a_command_it_lists(capsys):
    assert run(capsys) == run(capsys, "list")
    listed = json.loads(run(capsys, "--json")[1])
    assert listed == json.loads(run(capsys, "list", "--json")[1])
    assert list(listed) == ["profiles"]
    (mine,) = [row for row in listed["profiles"] if row["name"] == "h200_sxm"]
    assert {"gpu", "memory", "bandwidth", "provenance"} <= mine.keys()
    assert "vllm-0.24.0" in mine["tables"]


def test_show_draws_into_results_and_tells(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "show", "rtx_4090")
    assert code == 0
    assert "128 multiprocessors" in out
    assert "layer_attention" in out
    for ending, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        file = Path(f"results/profiles/rtx_4090.{ending}")
        assert file.read_bytes().startswith(start)
        assert str(file) in err.replace("\n", "")


def test_show_as_json(capsys, tmp_path):
    shown = json.loads(run(capsys, "show", "l40s", "--out", tmp_path, "--json")[1])
    assert shown["profile"] == "l40s"
    assert all((tmp_path / f"l40s.{ending}").exists() for ending in ("png", "svg"))
    (gemm,) = [row for row in shown["operators"] if (row["operator"], row["type"]) == ("gemm", "fp8")]
    assert gemm["samples"] > 30_000
    assert gemm["p95"] < 0.04
    assert shown["provenance"]["tables"]


def test_compare_gives_ratios_by_operator(capsys):
    ratios = json.loads(run(capsys, "compare", "rtx_4090", "rtx_pro_6000", "--json")[1])
    assert (ratios["first"], ratios["second"]) == ("rtx_4090", "rtx_pro_6000")
    rows = {row["what"]: row for row in ratios["ratios"]}
    assert rows["memory bandwidth"]["ratio"] == pytest.approx(1597 / 1008)
    # The larger card is faster, by less than its peak is higher.
    assert 1 / 2.9 < rows["layer_attention"]["ratio"] < 1
    assert rows["layer_attention"]["low"] <= rows["layer_attention"]["ratio"] <= rows["layer_attention"]["high"]
    code, out, _ = run(capsys, "compare", "rtx_4090", "rtx_pro_6000")
    assert code == 0
    assert "layer_attention" in out


def test_a_profile_compared_with_itself_is_the_same(capsys):
    rows = json.loads(run(capsys, "compare", "l40s", "l40s", "--json")[1])["ratios"]
    assert all(row["ratio"] == pytest.approx(1) for row in rows)
    assert all(row.get("low", 1) == row.get("high", 1) for row in rows)


def test_nothing_in_common_is_said(capsys):
    assert "no operator was measured on both" in run(capsys, "compare", "a100_sxm", "rtx_4090")[1]


def test_check_of_a_shipped_profile_passes(capsys):
    code, out, _ = run(capsys, "check", "rtx_4090")
    assert code == 0
    assert out.splitlines()[-1].startswith("rtx_4090: 0 errors")


def broken(tmp_path):
    for ending in ("yaml", "npz"):
        shutil.copy(data_dir("hardware_profiles") / f"rtx_4090.{ending}", tmp_path)
    file = tmp_path / "rtx_4090.yaml"
    # A datasheet in the wrong unit: a thousandth of what the card has.
    file.write_text(file.read_text().replace("bfloat16: 165.2TFLOP/s", "bfloat16: 165.2GFLOP/s"))
    return file


def test_check_exits_1_on_errors(capsys, tmp_path):
    code, out, _ = run(capsys, "check", broken(tmp_path))
    assert code == 1
    assert "faster than the datasheet allows" in " ".join(out.split())
    code, out, _ = run(capsys, "check", broken(tmp_path), "--json")
    assert code == 1
    report = json.loads(out)
    assert report["errors"] == sum(finding["level"] == "error" for finding in report["findings"]) > 0


def test_an_import_through_the_command(capsys, tmp_path):
    for ending in ("yaml", "npz"):
        shutil.copy(data_dir("hardware_profiles") / f"rtx_4090.{ending}", tmp_path / f"mine.{ending}")
    mine = tmp_path / "mine.yaml"
    mine.write_text(mine.read_text().replace("rtx_4090.npz", "mine.npz"))
    run_file = tmp_path / "bw.json"
    tests = [
        {"name": name, "status": "Passed", "bandwidth_matrix": [["25.5"]]}
        for name in ("host_to_device_memcpy_ce", "device_to_host_memcpy_ce")
    ]
    run_file.write_text(json.dumps({"nvbandwidth": {"testcases": tests}}))
    code, out, err = run(
        capsys, "import", "nvbandwidth", run_file, "--into", mine, "--name", "mine", "--source", "bench 7"
    )
    assert (code, out.strip()) == (0, str(mine))
    assert "links" in err
    shown = json.loads(run(capsys, "show", mine, "--out", tmp_path, "--json")[1])
    assert shown["profile"] == "mine"
    assert {"figure": "pcie", "value": "26 GB/s", "source": shown["provenance"]["links"]} in shown["figures"]
    assert "bench 7" in shown["provenance"]["links"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["show", "h201_sxm"], "did you mean 'h200_sxm'"),
        (["check", "gone.yaml"], "no such file"),
        (["compare", "l40s", "nothing"], "unknown hardware 'nothing'"),
        (["import", "nccl_tests", "gone.json", "--into", "mine.yaml"], "gone.json"),
        (["import", "smoke_signals", "x", "--into", "mine.yaml"], "unknown importer 'smoke_signals'"),
        (["import", "nccl_tests", "x", "--into", "no/such/folder/mine.yaml"], "no folder"),
    ],
)
def test_mistakes_are_one_message_and_exit_2(capsys, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *args)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
