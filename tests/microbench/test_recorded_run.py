import json

import pytest
from microbench import synthetic

from simulator.core import InputError
from simulator.hardware.recorded_run import read_run


def read(path):
    return read_run([str(path)])


def test_a_whole_run(tmp_path):
    run = read(synthetic.write(tmp_path / "run.jsonl"))
    assert (run.gpu, run.date, run.cut_short, run.throttled) == (synthetic.NAME, "2026-01-02", False, 0)
    assert run.notes == ["one GPU"]
    rows = run.rows("gemm", "cold")
    assert len(rows) == 2 * 3 * 2 * 11
    assert set(rows.columns) == {"dtype", "m", "n", "k", "library", "noise", "seconds"}
    assert len(run.rows("gemm", "hot")) == 0


def test_a_run_killed_in_the_middle_of_a_line(tmp_path):
    path = synthetic.write(tmp_path / "run.jsonl", synthetic.lines()[:20])
    path.write_text(path.read_text() + '{"kind": "result", "op": "ge')
    run = read(path)
    assert run.cut_short
    assert len(run.results) == 19


def test_a_point_measured_again_counts_once_and_a_throttled_one_not_at_all(tmp_path):
    point = {"how": "round_trip", "kernels": 1}
    some = [synthetic.result("launch", point, seconds, l2="none") for seconds in (5e-6, 7e-6)]
    some += [synthetic.result("launch", {"how": "stream", "kernels": 500}, 1e-6, l2="none", throttled=True)]
    run = read(synthetic.write(tmp_path / "run.jsonl", [synthetic.machine(), *some]))
    assert list(run.rows("launch", "none").seconds) == [7e-6]
    assert run.throttled == 1


def test_times_within_a_graph_lose_what_the_events_cost(tmp_path):
    run = read(synthetic.write(tmp_path / "run.jsonl"))
    rows = run.rows("gemm", "cold")
    inside = run.within_a_graph(rows)
    assert (rows.seconds - inside.seconds).to_numpy() == pytest.approx(synthetic.EMPTY - synthetic.NODE)
    tiny = rows.assign(seconds=1e-6)
    # The node of the longest graph; nothing is faster than an empty kernel there.
    assert run.within_a_graph(tiny).seconds.to_numpy() == pytest.approx(synthetic.NODE)
    run.results = [each for each in run.results if each["op"] != "launch"]
    assert run.within_a_graph(rows) is rows


def bad(**changes):
    return [synthetic.machine(), synthetic.result("launch", {"how": "stream", "kernels": 1}, 1e-6) | changes]


@pytest.mark.parametrize(
    ("some", "line", "message"),
    [
        ([], None, "empty"),
        ([{"kind": "result"}], 1, "not a recorded run"),
        ([synthetic.machine(tokenyard_microbench=2)], 1, "upgrade tokenyard"),
        ([synthetic.machine(tokenyard_microbench=0)], 1, "measure again"),
        ([{"tokenyard_microbench": 1, "gpu": "x"}], 1, "no same, date, device, memory_bytes"),
        ([synthetic.machine()], None, "no results"),
        ([synthetic.machine(), {"kind": "error", "message": "out of memory"}], None, "out of memory"),
        (bad(seconds=0), 2, "0 is no time"),
        (bad(seconds=None), 2, "None is no time"),
        (bad(seconds=float("inf")), 2, "inf is no time"),
        (bad(kind="rseult"), 2, "'rseult' is no kind"),
        (bad(point=3), 2, "'point'"),
        ([synthetic.machine(), {"kind": "result", "op": "gemm"}], 2, "no library, point, l2, seconds"),
    ],
)
def test_what_is_wrong_where(tmp_path, some, line, message):
    path = synthetic.write(tmp_path / "run.jsonl", some)
    with pytest.raises(InputError) as error:
        read(path)
    assert message in str(error.value)
    assert error.value.where == (f"{path}:{line}" if line else str(path))


def test_lines_that_are_no_records(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(json.dumps(synthetic.machine()) + "\n{oops\n")
    with pytest.raises(InputError, match=r"run\.jsonl:2:2: not JSON"):
        read(path)
    path.write_text("[1]\n")
    with pytest.raises(InputError, match="not a JSON object"):
        read(path)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match="not text"):
        read(path)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "none.jsonl")


def test_files_of_one_machine_are_read_as_one_run(tmp_path):
    all_lines = synthetic.lines()
    first = synthetic.write(tmp_path / "a.jsonl", all_lines[:30])
    second = synthetic.write(tmp_path / "b.jsonl", [all_lines[0], *all_lines[30:]])
    both = read_run([str(first), str(second)])
    assert len(both.results) == len(read(synthetic.write(tmp_path / "c.jsonl")).results)
    other = synthetic.write(tmp_path / "d.jsonl", [synthetic.machine(same="another"), all_lines[1]])
    with pytest.raises(InputError, match="of another machine"):
        read_run([str(first), str(other)])
