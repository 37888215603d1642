"""Recorded schedules: hand-derived ones are repeated, falsified ones are found at the step, the real ones agree."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from simulator.core import InputError
from simulator.experiment.validation.schedules import validate_folder

GOLDEN = Path(__file__).parents[2] / "golden/schedules"
RECORDED = Path(__file__).parents[3] / "../shared/vllm_schedules"


def test_decisions_derived_by_hand_are_repeated():
    verdict = validate_folder(GOLDEN)
    assert [case["detail"] for case in verdict["groups"]] == [""] * 3
    steps = sum(len(json.loads(file.read_text())["steps"]) for file in GOLDEN.glob("*.json"))
    assert verdict["overall"] == {"points": 3, "identical": 3, "agreement": 1.0, "steps": steps, "not_covered": 0}


def test_what_a_recording_says_beside_the_decisions_is_no_difference(tmp_path):
    case = json.loads((GOLDEN / "preempt_fcfs.json").read_text())
    case["steps"][0] |= {"preempted": [], "cached_tokens": [], "running": 2}
    (tmp_path / "more.json").write_text(json.dumps(case))
    assert validate_folder(tmp_path)["overall"]["identical"] == 1


def test_a_case_that_cannot_be_replayed_does_not_keep_the_others(tmp_path):
    shutil.copy(GOLDEN / "prefix_hit.json", tmp_path / "right.json")
    case = json.loads((GOLDEN / "preempt_fcfs.json").read_text())
    for name, limits in (("chunks", {"long_prefill_token_threshold": 64}), ("wide", {"max_num_seqs": 100_000})):
        (tmp_path / f"{name}.json").write_text(json.dumps(case | {"engine": case["engine"] | limits}))
    (tmp_path / "broken.json").write_text("{")
    verdict = validate_folder(tmp_path)
    assert (verdict["overall"]["points"], verdict["overall"]["not_covered"]) == (1, 3)
    reasons = " ".join(each["reason"] for each in verdict["not_covered"])
    assert "cannot read this recording" in reasons and "max_num_seqs is 100000" in reasons
    assert "long_prefill_token_threshold 64 is not modelled" in reasons


def change_tokens(steps):
    steps[1]["scheduled"][0][1] += 1


def change_order(steps):
    steps[1]["scheduled"].reverse()


def forget_preemption(steps):
    del steps[2]["preempted"]


def invent_preemption(steps):
    steps[1]["preempted"] = [0]


def invent_hit(steps):
    steps[3]["cached_tokens"] = [[1, 4]]


def forget_a_request(steps):
    del steps[0]["scheduled"][1]


def stop_early(steps):
    del steps[4:]


def go_on(steps):
    steps.append({"step": 6, "scheduled": [[1, 1]]})


@pytest.mark.parametrize(
    ("falsify", "step", "word"),
    [
        (change_tokens, 1, "scheduled"),
        (change_order, 1, "scheduled"),
        (forget_preemption, 2, "preempted: None recorded, [1] ours"),
        (invent_preemption, 1, "preempted: [0] recorded, None ours"),
        (invent_hit, 3, "cached_tokens: [[1, 4]] recorded, None ours"),
        (forget_a_request, 0, "scheduled: [[0, 7]] recorded, [[0, 7], [1, 7]] ours"),
        (stop_early, 4, "4 steps recorded, 5 ours"),
        (go_on, 6, "7 steps recorded, 6 ours"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_difference_is_found_at_its_step(tmp_path, falsify, step, word):
    case = json.loads((GOLDEN / "preempt_fcfs.json").read_text())
    falsify(case["steps"])
    (tmp_path / "false.json").write_text(json.dumps(case))
    shutil.copy(GOLDEN / "prefix_hit.json", tmp_path / "right.json")
    verdict = validate_folder(tmp_path)
    false, right = verdict["groups"]
    assert (false["case"], false["first_difference"], right["first_difference"]) == ("false.json", step, None)
    assert word in false["detail"]
    assert verdict["overall"]["agreement"] == 0.5


def test_compressed_cases_are_read_as_well(tmp_path):
    for file in GOLDEN.glob("*.json"):
        (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    assert validate_folder(tmp_path)["overall"]["identical"] == 3


def case_with(**changes):
    case = json.loads((GOLDEN / "prefix_hit.json").read_text()) | changes
    return json.dumps({key: value for key, value in case.items() if value is not None}).encode()


WHOLE = gzip.compress(case_with())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{", "cannot read this recording"),
        ("a.json", b"\xff\xfe", "cannot read this recording"),
        ("a.json.gz", b"not gzip", "cannot read this recording"),
        ("a.json.gz", WHOLE[: len(WHOLE) // 2], "cannot read this recording"),
        ("a.json", b"[1, 2]", "not a recording"),
        ("a.json", case_with(steps=None), "not a recording: steps: field required"),
        ("a.json", case_with(requests=None), "not a recording: requests: field required"),
        ("a.json", case_with(engine=None), "not a recording: engine: field required"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        validate_folder(tmp_path)
    assert error.value.where == str(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [
        case_with(engine={"max_num_seqs": 4}),
        case_with(requests=[{"arrival_step": 0}]),
        case_with(requests=[{"arrival_step": 0, "prompt_tokens": "ten", "output_tokens": 1}]),
        case_with(requests=5),
        case_with(steps={"0": {}}),
    ],
    ids=["engine without limits", "request without lengths", "length as text", "requests a number", "steps a map"],
)
def test_a_recording_of_another_shape_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError):
        validate_folder(tmp_path)


def test_a_folder_without_recordings(tmp_path):
    with pytest.raises(InputError, match="no recorded schedules"):
        validate_folder(tmp_path)
    with pytest.raises(InputError, match="no recorded schedules"):
        validate_folder(tmp_path / "missing")


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded schedules are not here")
def test_all_recorded_decisions_of_vllm_are_repeated():
    verdict = validate_folder(RECORDED)
    assert [case for case in verdict["groups"] if case["first_difference"] is not None] == []
    assert verdict["overall"]["points"] == 100
    assert verdict["overall"]["steps"] > 100_000
