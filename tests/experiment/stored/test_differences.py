"""Runs are found by folder or by name, told apart by the shortest label, and differ with a sign."""

import json

import pytest

from simulator.core import InputError
from simulator.experiment.stored.differences import differences
from simulator.experiment.stored.folder import find_runs, only_run


def write(folder, **metrics_by_run):
    folder.mkdir(parents=True)
    runs = [{"name": name, "metrics": metrics} for name, metrics in metrics_by_run.items()]
    (folder / "summary.json").write_text(json.dumps({"schema": 1, "experiment": "x", "runs": runs}))
    return folder


def test_a_folder_stands_for_its_runs_and_a_name_for_one(tmp_path):
    folder = write(tmp_path / "x", **{"a": {}, "b rate=5/s": {}})
    assert [run.name for run in find_runs(str(folder))] == ["a", "b rate=5/s"]
    (run,) = find_runs(f"{folder}/b rate=5/s")
    assert (run.folder, run.name) == (folder, "b rate=5/s")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("x/c", "unknown run 'c'"),
        ("nowhere", "no summary.json here (give the folder that 'tokenyard run' printed)"),
        ("broken", "cannot be read"),
        ("newer", "schema 9, but this version reads schema 1 (repeat the run)"),
        ("empty", "has no runs"),
    ],
)
def test_what_is_no_run(tmp_path, given, message):
    write(tmp_path / "x", a={})
    for name, text in (("broken", "{"), ("newer", '{"schema": 9}'), ("empty", '{"schema": 1, "runs": []}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(text)
    with pytest.raises(InputError) as error:
        find_runs(str(tmp_path / given))
    assert message in str(error.value)


def test_one_of_several_runs_has_to_be_chosen(tmp_path):
    runs = find_runs(str(write(tmp_path / "x", a={}, b={})))
    assert only_run(runs, "b").name == "b"
    assert only_run(runs[:1], None).name == "a"
    with pytest.raises(InputError, match=r"2 runs are here .*'a', 'b'"):
        only_run(runs, None)
    with pytest.raises(InputError, match="unknown run 'c'"):
        only_run(runs, "c")


def test_differences_are_signed_and_relative_to_the_first(tmp_path):
    folder = write(tmp_path / "x", a={"ttft": 100.0, "failed": 0, "slo": None}, b={"ttft": 80.0, "failed": 2, "slo": 1})
    found = differences(find_runs(str(folder)))
    assert found["base"] == "a"
    first, second = found["runs"]
    assert "differences" not in first
    assert second["differences"] == {
        "ttft": {"absolute": -20.0, "relative": -0.2},
        "failed": {"absolute": 2, "relative": None},
        "slo": {"absolute": None, "relative": None},
    }


def test_labels_are_as_short_as_they_can_be(tmp_path):
    one, two = (write(tmp_path / name, run={}) for name in ("one", "two"))
    deep = write(tmp_path / "deep/one", run={}, other={})

    def labels(*folders):
        return [run["label"] for run in differences([run for at in folders for run in find_runs(str(at))])["runs"]]

    assert labels(one, two) == ["one", "two"]
    assert labels(deep) == ["run", "other"]
    assert labels(two, deep) == ["two: run", "one: run", "one: other"]
    assert labels(one, deep) == [f"{one}: run", f"{deep}: run", f"{deep}: other"]
    assert labels(one, one) == [f"{one}: run", f"{one}: run (2)"]


def test_one_run_alone_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing to compare with"):
        differences(find_runs(str(write(tmp_path / "x", a={}))))
