"""``tokenyard validate schedules`` ends with its verdict and exits by it."""

import gzip
import json
from pathlib import Path

import pytest

from simulator.cli.main import main

RECORDED = Path(__file__).parents[2] / "../shared/vllm_schedules"


@pytest.fixture
def cases(tmp_path):
    """Return a folder with two recorded cases, of which the second is falsified near its end."""
    recorded = sorted(RECORDED.glob("case_*.json.gz"), key=lambda file: file.stat().st_size)[:2]
    if len(recorded) < 2:
        pytest.skip("the recorded schedules are not here")
    for index, file in enumerate(recorded):
        case = json.loads(gzip.decompress(file.read_bytes()))
        if index == 1:
            scheduled = next(step["scheduled"] for step in reversed(case["steps"]) if step["scheduled"])
            scheduled[0][1] += 1
        (tmp_path / f"case_{index}.json").write_text(json.dumps(case))
    return tmp_path


def call(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main(["validate", "schedules", *map(str, args)])
    return end.value.code or 0, capsys.readouterr().out


def test_a_difference_fails_the_check(capsys, cases):
    code, out = call(capsys, cases)
    assert code == 1
    assert "case_1.json" in out
    assert out.splitlines()[-1].startswith("1 of 2 cases identical")


def test_json_tells_the_same(capsys, cases):
    code, out = call(capsys, cases, "--json")
    verdict = json.loads(out)
    assert code == 1
    assert (verdict["overall"]["points"], verdict["overall"]["identical"]) == (2, 1)
    assert [case["first_difference"] is None for case in verdict["groups"]] == [True, False]


def test_the_tolerance_allows_a_share_to_differ(capsys, cases):
    assert call(capsys, cases, "--tolerance", "50%")[0] == 0
    assert call(capsys, cases, "--tolerance", "49%")[0] == 1


def test_identical_cases_pass(capsys, cases):
    (cases / "case_1.json").unlink()
    code, out = call(capsys, cases)
    assert code == 0
    assert out.splitlines()[-1].startswith("1 of 1 cases identical")
