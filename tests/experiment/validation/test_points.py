"""Measured serving points: what the simulator itself measured is found again without error, the rest is reported."""

import csv
from pathlib import Path

import numpy as np
import pytest

from simulator.core import InputError
from simulator.experiment.validation.point import read_points
from simulator.experiment.validation.points import simulate_point, validate_points
from simulator.experiment.validation.predict import predict
from simulator.experiment.validation.setup import Setup
from simulator.workload.table import Workload

MEASURED = Path(__file__).parents[3] / "../shared/measured/serving_points.csv"
ROW = {
    "system": "h100_sxm",
    "engine": "vllm",
    "engine_version": "0.12.0",
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "gemm_dtype": "",
    "tp": "1.0",
    "moe_ep": "1.0",
    "attention_dp": "",
    "isl_tokens": "256",
    "osl_tokens": "24",
    "concurrency": "4.0",
    "mean_ttft_ms": "100",
    "mean_tpot_ms": "10",
    "origin": "inferencex",
    "replicates": "1",
    "replicate_spread": "0.0",
    "flag": "",
}


EXPERTS = {"model": "Qwen/Qwen3-30B-A3B"}


def write(path, *rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in (ROW, *rows) for name in row)))
        writer.writeheader()
        writer.writerows({**ROW, **row} for row in rows)
    return path


def measured(tmp_path, *rows, seed=0, slower=1.0):
    """Return a file in which each row says what the simulator measures with a seed, TTFTs times ``slower``."""
    outcomes = [simulate_point(point, seed) for point in read_points(write(tmp_path / "bare.csv", *rows))]
    filled = [
        {**row, "mean_ttft_ms": outcome.ttft * slower, "mean_tpot_ms": outcome.tpot}
        for row, outcome in zip(rows, outcomes, strict=True)
    ]
    return write(tmp_path / "points.csv", *filled)


LOADS = ({"concurrency": "2"}, {"concurrency": "6", "tp": "2"}, {"isl_tokens": "900", "origin": "nvidia-aic-internal"})


def test_the_simulators_own_points_have_no_error(tmp_path):
    verdict = validate_points(measured(tmp_path, *LOADS))
    overall = verdict["overall"]
    assert (overall["points"], overall["tpot_points"], overall["ttft_points"], overall["not_covered"]) == (3, 3, 3, 0)
    assert overall["tpot_mape"] == pytest.approx(0, abs=1e-12)
    assert overall["ttft_mape"] == pytest.approx(0, abs=1e-12)
    assert [point["concurrency"] for point in verdict["points"]] == [2, 6, 4]


def test_another_seed_differs_by_noise_only(tmp_path):
    overall = validate_points(measured(tmp_path, *LOADS, seed=1))["overall"]
    assert 0 < overall["tpot_mape"] < 0.01
    assert 0 < overall["ttft_mape"] < 0.1


def test_two_processes_tell_the_same(tmp_path):
    file, heard = measured(tmp_path, *LOADS), []
    both = validate_points(file, workers=2, progress=lambda done, total: heard.append((done, total)))
    assert both == validate_points(file)
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_errors_are_signed_and_grouped(tmp_path):
    file = measured(tmp_path, {}, {"tp": "2"}, {"tp": "2", "isl_tokens": "512"}, slower=1.25)
    verdict = validate_points(file, group_by=["parallelism"])
    first, second = verdict["groups"]
    assert (first["parallelism"], first["points"], second["parallelism"], second["points"]) == ("tp1", 1, "tp2", 2)
    for scores in (first, second, verdict["overall"]):
        assert scores["ttft_bias"] == pytest.approx(-0.2)
        assert scores["ttft_mape"] == pytest.approx(0.2)
        assert scores["tpot_mape"] == pytest.approx(0, abs=1e-12)
    assert [(row["isl"], row["points"]) for row in verdict["regions"]["isl"]] == [(256, 2), (512, 1)]


@pytest.mark.parametrize(
    ("flag", "tpot", "ttft"),
    [
        ("", 1, 1),
        ("engine version missing;", 1, 1),
        ("doubtful: more than peak throughput", 0, 0),
        ("ttft doubtful: contains a stream interval", 1, 0),
        ("queue-saturated(TTFT>20s);engine version missing;", 1, 0),
    ],
)
def test_a_flag_takes_a_row_out_of_what_it_spoils(tmp_path, flag, tpot, ttft):
    overall = validate_points(write(tmp_path / "points.csv", {"flag": flag}))["overall"]
    assert (overall["points"], overall["tpot_points"], overall["ttft_points"]) == (1, tpot, ttft)
    assert (overall["tpot_mape"] is None, overall["ttft_mape"] is None) == (not tpot, not ttft)
    assert overall["ttft_flagged_points"] == 1 - ttft


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"model": "nobody/Unheard-13B"}, "model 'nobody/Unheard-13B' is not known"),
        ({"system": "mi300x"}, "no hardware profile for 'mi300x'"),
        ({"concurrency": ""}, "the concurrency is not recorded"),
        ({"model": "meta-llama/Llama-3.1-70B"}, "llama-3.1-70b does not fit h100_sxm"),
        ({"engine": "ollama"}, "unknown engine 'ollama'"),
        ({**EXPERTS, "tp": "8", "moe_ep": "2"}, "experts on 2 of 8 GPUs are not modelled"),
        ({"isl_tokens": "200000"}, "40 of 40 requests cannot be served"),
        (
            {**EXPERTS, "tp": "4", "moe_ep": "8"},
            "experts on 8 GPUs with attention on 4 each",
        ),
        ({"tp": "8", "attention_dp": "True"}, "data-parallel attention over 8 is not modelled"),
        ({"gemm_dtype": "int8_wo"}, "unknown quantization 'int8_wo'"),
        ({"mean_tpot_ms": "fast"}, "mean_tpot_ms is 'fast', not a number"),
        ({"mean_ttft_ms": "0"}, "mean_ttft_ms is 0"),
        ({"mean_ttft_ms": "", "mean_tpot_ms": "nan"}, "neither mean_ttft_ms nor mean_tpot_ms is there"),
        ({"isl_tokens": "12.5"}, "isl_tokens is 12.5, not a whole number"),
        ({"osl_tokens": ""}, "osl_tokens is missing"),
        ({"tp": "-1"}, "tp is -1"),
        ({"tp": ""}, "tp is missing"),
    ],
)
def test_what_cannot_be_simulated_is_listed_with_the_reason(tmp_path, row, reason):
    verdict = validate_points(write(tmp_path / "points.csv", {}, row))
    assert (verdict["overall"]["points"], verdict["overall"]["not_covered"]) == (1, 1)
    (missed,) = verdict["not_covered"]
    assert reason in missed["reason"]
    assert missed["where"] == f"{tmp_path / 'points.csv'}:3"


@pytest.mark.parametrize(("recorded", "gpus"), [("4", 2), ("16", 4), ("64", 8)])
def test_equal_squares_of_tp_and_ep_are_the_square_of_the_gpus(tmp_path, recorded, gpus):
    (point,) = read_points(write(tmp_path / "points.csv", {"tp": recorded, "moe_ep": recorded}))
    assert (point.tensor_parallel, point.expert_parallel, point.parallelism) == (gpus, gpus, f"tp{gpus} ep")


def test_experts_that_cannot_be_split_are_kept_whole(tmp_path):
    row = {"system": "h200_sxm", "model": "MiniMaxAI/MiniMax-M2.5", "gemm_dtype": "fp8"}
    four, eight = read_points(write(tmp_path / "points.csv", {**row, "tp": "4"}, {**row, "tp": "8"}))
    assert (four.setup().expert_parallel, eight.setup().expert_parallel) == (False, True)


def test_a_model_without_experts_has_none_in_parallel(tmp_path):
    (point,) = read_points(write(tmp_path / "points.csv", {"tp": "8", "moe_ep": "8"}))
    assert point.setup().expert_parallel is False


def test_fp8_of_a_model_is_its_published_checkpoint(tmp_path):
    (point,) = read_points(write(tmp_path / "p.csv", {"model": "meta-llama/Llama-3.1-70B", "gemm_dtype": "fp8"}))
    setup = point.setup()
    assert (setup.model, setup.quantization) == ("llama-3.1-70b-fp8", None)


def test_protocols_follow_the_origin(tmp_path):
    origins = ("inferencex", "nvidia-aic-internal", "someone")
    points = read_points(write(tmp_path / "points.csv", *({"origin": origin} for origin in origins)))
    known, lockstep, other = (point.client() for point in points)
    assert (known.shortest, known.requests, known.warmups, known.gap_s) == (0.8, 40, 8, 0.0)
    assert (lockstep.shortest, lockstep.requests, lockstep.warmups, lockstep.gap_s) == (1.0, 40, 0, 0.002)
    assert (other.shortest, other.requests, other.warmups, other.gap_s) == (1.0, 40, 0, 0.0)


@pytest.mark.parametrize(
    ("row", "limits"),
    [
        ({"origin": "inferencex", "engine": "vllm"}, (None, None)),
        ({"origin": "inferencex", "engine": "trtllm", "isl_tokens": "1024"}, (4, 1152)),
        ({"origin": "nvidia-aic-internal", "engine": "vllm", "isl_tokens": "1024"}, (4, 2560)),
        ({"origin": "nvidia-aic-internal", "engine": "trtllm", "isl_tokens": "1012"}, (4, 2560)),
        ({"origin": "someone", "engine": "trtllm"}, (None, None)),
    ],
)
def test_servers_have_the_limits_that_their_origin_starts_them_with(tmp_path, row, limits):
    (point,) = read_points(write(tmp_path / "points.csv", row))
    setup = point.setup()
    assert (setup.max_num_seqs, setup.max_num_batched_tokens) == limits
    (instance,) = setup.experiment("any").cluster.instances
    named = {"trtllm": ("max_batch_size", "max_num_tokens"), "vllm": ("max_num_seqs", "max_num_batched_tokens")}
    expected = dict(zip(named[setup.engine], limits, strict=True)) if limits[0] else {}
    assert instance.scheduler.name == setup.engine and instance.scheduler.params == expected


def test_a_file_without_any_point_is_refused_with_the_line_of_the_first(tmp_path):
    with pytest.raises(InputError, match="mean_tpot_ms is 'fast', not a number") as error:
        validate_points(write(tmp_path / "points.csv", {"mean_tpot_ms": "fast"}, {"tp": "-1"}))
    assert error.value.where == f"{tmp_path / 'points.csv'}:2"


@pytest.mark.parametrize(
    ("row", "tpot", "ttft"),
    [
        ({"mean_ttft_ms": ""}, 1, 0),
        ({"mean_tpot_ms": "NaN"}, 0, 1),
        ({"osl_tokens": "1", "mean_tpot_ms": "0"}, 0, 1),
        ({"mean_ttft_ms": "", "flag": "ttft doubtful: streamed in pieces"}, 1, 0),
    ],
)
def test_a_time_that_was_not_measured_counts_for_nothing(tmp_path, row, tpot, ttft):
    verdict = validate_points(write(tmp_path / "points.csv", row))
    overall, (point,) = verdict["overall"], verdict["points"]
    assert (overall["points"], overall["tpot_points"], overall["ttft_points"]) == (1, tpot, ttft)
    assert overall["ttft_flagged_points"] == 0
    assert (point["measured_tpot_ms"] is None, point["tpot_error"] is None) == (not tpot, not tpot)
    assert (point["measured_ttft_ms"] is None, point["ttft_error"] is None) == (not ttft, not ttft)


@pytest.mark.parametrize(
    ("setup", "limits"),
    [
        (Setup("h100_sxm", "llama-3.2-1b"), (1024, 8192)),
        (Setup("rtx_pro_6000", "llama-3.2-1b", server=False), (1024, 16384)),
        (Setup("a100_sxm", "llama-3.2-1b"), (256, 2048)),
        (Setup("l40s", "llama-3.2-1b", max_num_batched_tokens=128), (128, 128)),
        (Setup("l40s", "llama-3.2-1b", max_num_seqs=0, max_num_batched_tokens=4096), (256, 4096)),
    ],
)
def test_limits_that_nobody_recorded_are_vllms_for_the_gpu(setup, limits):
    one = Workload("one", "", np.zeros(1, np.int64), np.array([100]), np.array([2]))
    (kind,) = predict(setup, one).kinds
    assert kind["limits"] == dict(zip(("max_num_seqs", "max_num_batched_tokens"), limits, strict=True))


def test_names_case_order_and_spaces_are_forgiven(tmp_path):
    plain = write(tmp_path / "points.csv", {})
    other = tmp_path / "other.csv"
    cells = {**ROW, "engine": "vLLM", "engine_version": "v0.12.0", "system": "NVIDIA H100 80GB HBM3", "note": "a b"}
    cells |= {"model": "llama-3.1-8b-instruct", "tp": "1", "concurrency": "4"}
    names = [f" {name.upper()}" for name in reversed(cells)]
    lines = [",".join(names), ", ".join(reversed(cells.values())), "," * (len(cells) - 1)]
    other.write_text("\n".join(lines) + "\n")
    (expected,), (found,) = read_points(plain), read_points(other)
    assert found.setup() == expected.setup() and found.client() == expected.client()


@pytest.mark.parametrize(
    ("engine", "version", "served_by", "assumed"),
    [
        ("vllm", "v0.11.2", ("vllm", "0.11.2"), None),
        ("vLLM", "nightly", ("vllm", None), None),
        ("TensorRT-LLM", "1.2.0rc4", ("trtllm", "1.2.0rc4"), None),
        ("vllm", "0.6.3.post1", ("vllm", "0.8"), "vllm 0.6.3 is older than every build known: simulated as 0.8."),
        ("sglang", "0.5.5", ("vllm", None), "sglang has no profile: simulated as vllm"),
    ],
)
def test_an_engine_without_a_profile_is_simulated_as_the_nearest_and_said_so(
    tmp_path, engine, version, served_by, assumed
):
    file = write(tmp_path / "points.csv", {"engine": engine, "engine_version": version})
    (point,) = read_points(file)
    assert (point.setup().engine, point.setup().version) == served_by
    verdict = validate_points(file)
    assert verdict["overall"]["points"] == 1 and len(verdict["assumptions"]) == (assumed is not None)
    assert verdict["groups"][0]["engine"] == engine.lower()
    assert assumed is None or verdict["assumptions"][0].startswith(assumed)


@pytest.mark.parametrize(
    ("day", "version"), [("2025-10-29", "0.11"), ("20260217", "0.15"), ("2024-05-01", "0.8"), ("2099-01-01", "0.18")]
)
def test_an_engine_without_a_version_is_the_newest_of_the_day_it_was_measured_on(tmp_path, day, version):
    file = write(tmp_path / "points.csv", {"engine": "vllm", "engine_version": "", "measured_on": day})
    (point,) = read_points(file)
    assert point.setup().version == version
    assert f"newest of the day: {version}." in " ".join(validate_points(file)["assumptions"])


def test_inferencex_asks_vllm_to_schedule_asynchronously(tmp_path):
    rows = [{"engine": "vllm", "engine_version": "0.11.0", "origin": origin} for origin in ("inferencex", "another")]
    ours, others = read_points(write(tmp_path / "points.csv", *rows))
    assert (ours.setup().asynchronous, others.setup().asynchronous) == (True, None)


def test_a_missing_column_and_an_unknown_group_are_named(tmp_path):
    (tmp_path / "short.csv").write_text("system,engine\nh100_sxm,vllm\n")
    with pytest.raises(InputError, match="no column 'model'"):
        validate_points(tmp_path / "short.csv")
    with pytest.raises(InputError, match="unknown group 'modle'"):
        validate_points(write(tmp_path / "points.csv", {}), group_by=["modle"])


@pytest.mark.skipif(not MEASURED.is_file(), reason="the measured points are not here")
def test_every_measured_point_is_covered_but_those_without_a_concurrency():
    missed = []
    for point in read_points(MEASURED):
        try:
            point.setup(), point.client()
        except InputError as problem:
            missed.append(problem.message)
    assert missed == ["the concurrency is not recorded"] * 3
