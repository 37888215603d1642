import json

import pytest
from rich.console import Console

from simulator.report.table import print_summary


def _printed(folder, width):
    console = Console(width=width)
    with console.capture() as captured:
        print_summary(json.loads((folder / "summary.json").read_text()), console)
    return captured.get()


def test_a_column_a_run_while_they_fit(three_runs):
    text = _printed(three_runs, 80)
    assert max(map(len, text.splitlines())) <= 80
    head = next(line for line in text.splitlines() if "fcfs" in line)
    assert "skip-join mlfq" in head and "slow" in head
    for label in ("TTFT p99", "TPOT p99", "goodput (within SLO)", "requests failed", "preemptions"):
        assert label in text
    assert "made <up> & small: 3 runs" in text


def test_the_best_of_a_row_is_marked(three_runs):
    runs = json.loads((three_runs / "summary.json").read_text())["runs"]
    line = next(line for line in _printed(three_runs, 80).splitlines() if "TTFT p99" in line)
    marked = [i for i, figure in enumerate(line.split()[3:]) if figure.endswith("*")]
    values = [run["metrics"]["p99_ttft_ms"] for run in runs]
    assert marked == [values.index(min(values))]
    assert "*" not in next(line for line in _printed(three_runs, 80).splitlines() if "offered load" in line)


def test_a_row_a_run_when_there_are_many(make_results, tmp_path):
    folder = make_results(tmp_path, [{"name": f"a-rather-long-policy-{i}", "requests": 20} for i in range(20)])
    text = _printed(folder, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "20 runs" in text
    assert sum(line.startswith((" a-rather", "a-rather")) for line in text.splitlines()) == 20
    for heading in ("fail", "goodput", "empt"):
        assert heading in text


def test_only_equal_loads_compete(make_results, tmp_path):
    runs = [{"name": f"{v} {rate}", "requests": 60, "rate": rate, "slow": s} for v, s in (("a", 1), ("b", 2))
            for rate in (4, 8)]  # fmt: skip
    text = _printed(make_results(tmp_path, runs), 100)
    assert "best of the runs with that offered load" in text
    line = next(line for line in text.splitlines() if "TPOT median" in line)
    assert [figure.endswith("*") for figure in line.split()[3:]] == [True, True, False, False]


@pytest.mark.parametrize("width", [80, 40])
def test_nothing_completed_still_prints(make_results, tmp_path, width):
    text = _printed(make_results(tmp_path, [{"name": "a", "requests": 20, "failing": 1.1}]), width)
    assert "requests failed" in text or "fail" in text
    assert "TTFT" not in text
    assert "nan" not in text and "None" not in text
