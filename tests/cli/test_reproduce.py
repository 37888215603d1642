"""``tokenyard reproduce`` ends with a verdict for each, as text and as JSON, and draws the figure."""

import json

import pytest

from simulator.cli.main import main
from simulator.experiment.reproductions.tools.registry import names


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keep results of tests out of the user's cache."""
    monkeypatch.setenv("TOKENYARD_CACHE_DIR", str(tmp_path / "cache"))


def call(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main(["reproduce", *map(str, args)])
    shown = capsys.readouterr()
    return end.value.code or 0, shown.out, shown.err


def test_a_quick_look_from_the_command_to_figure_and_verdict(capsys, tmp_path):
    code, out, _ = call(capsys, "sarathi", "--quick", "--json", "--jobs", 1, "--out", tmp_path / "figures")
    (found,) = json.loads(out)["reproductions"]
    assert code == 0
    assert {"system", "claim", "ours", "tolerance", "verdict"} <= set(found)
    assert found["verdict"] in ("reproduced", "shape only", "not reproduced")
    assert found["quick"]
    assert (tmp_path / "figures" / "sarathi.png").read_bytes().startswith(b"\x89PNG")

    code, out, _ = call(capsys, "sarathi", "--quick", "--jobs", 1)
    words = " ".join(out.split())
    assert code == 0
    for text in (found["verdict"], "paper", "ours", "calibrated:", "32 requests, seed 0;", "synthesised"):
        assert text in words


def test_results_are_kept_between_commands(capsys, tmp_path):
    first = call(capsys, "sarathi", "--quick", "--json", "--jobs", 1)
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache" / "reproductions").iterdir()}
    assert kept
    assert call(capsys, "sarathi", "--quick", "--json", "--jobs", 1)[:2] == first[:2]  # progress comes when it is slow
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "cache" / "reproductions").iterdir()} == kept


def test_the_list_names_all(capsys):
    code, out, _ = call(capsys, "--list", "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(out)["reproductions"]] == names()
    shown = call(capsys, "--list")[1]
    assert all(name in shown for name in names())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "which reproductions?"),
        (["sarathi", "--all"], "--all and names at once"),
        (["sarati"], "did you mean 'sarathi'?"),
        (["sarathi", "--data", "no/such/folder"], "no such folder"),
    ],
)
def test_a_mistake_is_one_message(capsys, args, said):
    code, out, err = call(capsys, *args)
    assert (code, out) == (2, "")
    assert said in err
