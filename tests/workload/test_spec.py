"""The workload section: strict, and each refusal is a sentence about the key it names."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from simulator.core.errors import InputError
from simulator.workload.build import build
from simulator.workload.spec import WorkloadSpec

CSV = "arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{n},{n + 1},1\n" for n in range(10))
GENERATED = {
    "arrivals": {"process": "poisson", "rate": "5/s"},
    "prompt": {"distribution": "fixed", "tokens": 10},
    "output": {"distribution": "fixed", "tokens": 10},
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ten.csv").write_text(CSV)
    return tmp_path


def traced(folder, seed=1, **section):
    return build(WorkloadSpec.model_validate({"trace": "ten.csv", **section}), seed, folder)


def test_a_path_is_read_from_the_experiments_folder(folder):
    assert traced(folder).prompt_tokens.tolist() == list(range(1, 11))


def test_a_path_may_start_at_the_working_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert len(traced(Path("/"))) == 10


def test_transforms_apply_in_the_stated_order(folder):
    workload = traced(folder, rate_scale=2.0, duration="3s", limit=4)
    assert workload.arrival_ps.tolist() == [0, 500_000_000_000, 1_000_000_000_000, 1_500_000_000_000]
    assert workload.prompt_tokens.tolist() == [1, 2, 3, 4]
    assert len(traced(folder, rate_scale=2.0, duration="3s")) == 6


def test_a_sample_repeats_with_the_seed_and_keeps_times(folder):
    half = traced(folder, sample=0.5)
    assert 0 < len(half) < 10
    assert np.array_equal(half.arrival_ps, (half.prompt_tokens - 1) * 10**12)
    assert np.array_equal(half.prompt_tokens, traced(folder, sample=0.5).prompt_tokens)


def test_rate_scale_and_duration_of_a_generator_make_enough_requests():
    section = {**GENERATED, "duration": "100s", "rate_scale": 4.0}
    assert len(build(WorkloadSpec.model_validate(section), 1, Path())) == pytest.approx(2000, rel=0.1)


def test_prefixes_and_clients_can_be_put_on_a_trace(folder):
    workload = traced(folder, prefix={"groups": 1, "tokens": 7}, clients={"count": 2}, priorities={1: 1.0})
    assert workload.prompt_tokens.tolist() == [n + 7 for n in range(1, 11)]
    assert workload.clients == ("client-1", "client-2")
    assert set(workload.priority.tolist()) == {1}


@pytest.mark.parametrize(
    ("section", "loc", "words"),
    [({}, (), "give a 'trace', or 'arrivals'"),
     ({"trace": "x.csv", **GENERATED}, (), "'trace' and 'arrivals' exclude each other"),
     ({"arrivals": GENERATED["arrivals"], "prompt": GENERATED["prompt"]}, (), "need 'output'"),
     ({**GENERATED, "lengths": {"file": "x"}}, (), "leave out either it or"),
     ({**GENERATED, "lengths": {}}, ("lengths",), "either 'file' or 'histogram'"),
     ({**GENERATED, "reqests": 5}, ("reqests",), "Extra inputs are not permitted"),
     ({**GENERATED, "requests": 0}, ("requests",), "greater than or equal to 1"),
     ({**GENERATED, "requests": "5"}, ("requests",), "valid integer"),
     ({**GENERATED, "rate_scale": 0}, ("rate_scale",), "greater than 0"),
     ({**GENERATED, "rate_scale": float("nan")}, ("rate_scale",), "finite number"),
     ({**GENERATED, "sample": 1.5}, ("sample",), "less than or equal to 1"),
     ({**GENERATED, "duration": 5}, ("duration",), "has no unit"),
     ({**GENERATED, "duration": "-5s"}, ("duration",), "above 0"),
     ({**GENERATED, "arrivals": {"process": "poisson", "rate": 5}}, ("arrivals", "poisson", "rate"), "has no unit"),
     ({**GENERATED, "arrivals": {"process": "poison", "rate": "5/s"}}, ("arrivals",), "'poisson'"),
     ({**GENERATED, "arrivals": {"rate": "5/s"}}, ("arrivals",), "process"),
     ({**GENERATED, "arrivals": {"process": "gamma", "rate": "5/s", "cv": 0.0}}, ("arrivals", "gamma", "cv"), "than 0"),
     ({**GENERATED, "arrivals": {"process": "counts", "counts": [0, 0]}}, ("arrivals", "counts"), "all counts are 0"),
     ({**GENERATED, "arrivals": {"process": "counts", "counts": [1, 2], "span": "10s"}},
      ("arrivals", "counts"), "span"),
     ({**GENERATED, "arrivals": {"process": "piecewise", "steps": [{"duration": "1s", "rate": "0/s"}]}},
      ("arrivals", "piecewise"), "rate 0"),
     ({**GENERATED, "prompt": {"distribution": "uniform", "min": 9, "max": 3}},
      ("prompt", "uniform"), "min 9 is above"),
     ({**GENERATED, "prefix": {"groups": 3}}, ("prefix", "groups", "tokens"), "required"),
     ({**GENERATED, "prefix": {"kind": "trees"}}, ("prefix",), "groups"),
     ({**GENERATED, "priorities": {}}, ("priorities",), "at least 1"),
     ({**GENERATED, "arrivals": {"process": "closed_loop", "concurrency": 2}, "duration": "1s"},
      (), "no arrival times"),
     ({"arrivals": GENERATED["arrivals"], "lengths": {"histogram": "1 2 3 4 5\n5 4 1 1 1\n"}}, ("lengths", "histogram"),
      "'5 4 1 1 1' is no cell"),
     ({"arrivals": GENERATED["arrivals"], "lengths": {"histogram": "1 2 3\n"}}, ("lengths", "histogram"), "five whole"),
     ({"arrivals": GENERATED["arrivals"], "lengths": {"histogram": ""}},
      ("lengths", "histogram"), "there are no cells")],
)  # fmt: skip
def test_a_slip_is_named(section, loc, words):
    with pytest.raises(ValidationError) as caught:
        WorkloadSpec.model_validate(section)
    errors = caught.value.errors()
    assert any(error["loc"] == loc and words in error["msg"] for error in errors), errors


def test_the_resolved_section_reads_back_the_same():
    section = {**GENERATED, "duration": "10min", "prefix": {"groups": 2, "tokens": 5}, "priorities": {0: 1.0}}
    spec = WorkloadSpec.model_validate(section)
    assert WorkloadSpec.model_validate(spec.model_dump(exclude_none=True)) == spec


@pytest.mark.parametrize(
    ("section", "words"),
    [({"trace": "azure_conv2023"}, r"unknown trace 'azure_conv2023' \(did you mean 'azure_conv_2023'\?\)"),
     ({"trace": "azure_conf_2023@original"}, "did you mean 'azure_conv_2023'"),
     ({"trace": "tne.csv"}, r"did you mean '.*ten\.csv'"),
     ({"trace": "ten.csv", "requests": 5}, "use 'limit'"),
     ({"trace": "ten.csv", "sample": 1e-9}, "has no requests"),
     ({"trace": "mooncake_conversation", "prefix": {"groups": 1, "tokens": 1}}, "brings its own prefixes")],
)  # fmt: skip
def test_what_validation_cannot_see_is_still_refused(folder, section, words):
    with pytest.raises(InputError, match=words):
        build(WorkloadSpec.model_validate(section), 1, folder)
