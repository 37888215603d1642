"""Recorded runs: one that the simulator recorded itself is found again, clocks and all; gaps in the data are said."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simulator.core import InputError
from simulator.core.data import data_dir
from simulator.experiment.validation.predict import predict
from simulator.experiment.validation.request_run import read_run
from simulator.experiment.validation.requests import validate_requests
from simulator.workload.table import Workload

MEASURED = Path(__file__).parents[3] / "../shared/measured/request_runs"
WALL, BOOT = 1_777_000_000.0, 4_000.0  # arrivals are wall time, the other stamps seconds since the machine started
META = {
    "model": "meta-llama/Llama-3.1-8B",
    "vllm_version": "0.19.0",
    "engine_kwargs": {"tensor_parallel_size": 1, "max_num_seqs": 8, "max_num_batched_tokens": 512},
    "kv_cache": {"num_gpu_blocks": 100, "block_size": 16},
    "hardware": {"device_name": "NVIDIA H100 80GB HBM3"},
}


def save(folder, meta, rows):
    folder.mkdir()
    (folder / "meta.json").write_text(json.dumps(meta))
    (folder / "requests.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def stamps(arrival, first=1.0, last=2.0, queued=0.001, prompt=100, output=11):
    return {
        "input_toks": prompt,
        "output_toks": output,
        "arrival_time": WALL + arrival,
        "queued_ts": BOOT + arrival + queued,
        "first_token_ts": BOOT + arrival + first,
        "last_token_ts": BOOT + arrival + last,
    }


@pytest.fixture
def recorded(tmp_path):
    """Return the folder of a run that our own engine served, short of memory."""
    template = read_run(save(tmp_path / "template", META, [stamps(0.0)]))
    rng = np.random.default_rng(0)
    arrival = np.sort(rng.uniform(0, 0.3, 40))
    workload = Workload(
        "own", "own", (arrival * 1e12).astype(np.int64), rng.integers(50, 700, 40), rng.integers(2, 200, 40)
    )
    served = predict(template.setup, workload)
    assert served.preemptions > 0
    rows = [
        stamps(at, ttft / 1e3, e2el / 1e3, queued, int(prompt), int(output))
        for at, ttft, e2el, queued, prompt, output in zip(
            arrival, served.ttft, served.e2el, rng.uniform(0, 0.01, 40), workload.prompt_tokens,
            workload.output_tokens, strict=True,
        )
    ]  # fmt: skip
    rows[7]["queued_ts"] = rows[7]["arrival_time"] - WALL + BOOT
    rng.shuffle(rows)
    return save(tmp_path / "own", META, rows)


def test_our_own_run_has_no_error(recorded):
    verdict = validate_requests(recorded)
    (run,) = verdict["groups"]
    assert verdict["overall"]["worst_mean_error"] < 1e-4
    assert verdict["overall"]["worst_tail_error"] < 1e-4
    assert (run["requests"], run["kv_blocks"]) == (40, 99)  # one of vLLM's blocks is its null block


def test_other_settings_show_as_signed_errors(recorded):
    meta = {**META, "engine_kwargs": {**META["engine_kwargs"], "max_num_seqs": 1}}
    (recorded / "meta.json").write_text(json.dumps(meta))
    verdict = validate_requests(recorded.parent / "own")
    (run,) = verdict["groups"]
    assert run["errors"]["ttft"]["mean"] > 0.1 > 0 > run["errors"]["tpot"]["mean"]
    assert verdict["overall"]["worst"]["run"] == "own"


def test_runs_are_simulated_with_the_engine_that_is_named(recorded, tmp_path):
    calibrated = tmp_path / "mine.yaml"
    shipped = data_dir("hardware_profiles") / "engines" / "vllm.yaml"
    calibrated.write_text(re.sub(r"iteration: \S+", "iteration: 50ms", shipped.read_text()))
    errors = validate_requests(recorded, engine=str(calibrated))["groups"][0]["errors"]
    assert errors["tpot"]["mean"] > 1
    with pytest.raises(InputError, match="unknown engine"):
        validate_requests(recorded, engine="vlm")


def test_a_folder_of_runs_is_compared_run_by_run(recorded):
    verdict = validate_requests(recorded.parent, workers=2)
    assert [run["run"] for run in verdict["groups"]] == ["own", "template"]
    assert verdict["overall"]["points"] == 2


def test_replicas_share_the_requests(tmp_path):
    engine = {**META["engine_kwargs"], "max_num_seqs": 1}
    rows = [stamps(0.001 * at) for at in range(8)]
    one = save(tmp_path / "one", {**META, "engine_kwargs": engine}, rows)
    two = save(tmp_path / "two", {**META, "engine_kwargs": engine | {"data_parallel_size": 2}}, rows)
    alone, shared = (validate_requests(folder) for folder in (one, two))
    waits = [verdict["groups"][0]["predicted_ms"]["ttft"]["mean"] for verdict in (alone, shared)]
    assert waits[1] < 0.6 * waits[0]
    assert (len(alone["assumptions"]), len(shared["assumptions"])) == (0, 1)


def test_latencies_count_from_the_arrival_not_from_the_queue(tmp_path):
    run = read_run(save(tmp_path / "run", META, [stamps(0.0, queued=0.0), stamps(0.5, queued=0.4)]))
    assert run.ttft == pytest.approx([1000, 1000]) and run.e2el == pytest.approx([2000, 2000])
    assert run.tpot == pytest.approx([100, 100])
    assert run.workload.arrival_ps.tolist() == pytest.approx([0, 5e11], abs=1e6)


def test_settings_may_be_absent(tmp_path):
    run = read_run(save(tmp_path / "RTX4090_Llama-3.1-8B", {"model": "meta-llama/Llama-3.1-8B"}, [stamps(0.0)]))
    assert (run.setup.hardware, run.setup.model, run.setup.tensor_parallel) == ("rtx_4090", "llama-3.1-8b", 1)
    assert (run.setup.kv_blocks, run.setup.max_num_seqs, run.setup.quantization) == (None, None, None)


@pytest.mark.parametrize(
    ("meta", "changed"),
    [
        ({"model": "Qwen/Qwen3-30B-A3B-FP8"}, {"model": "qwen3-30b-a3b-fp8"}),
        ({"model": "nvidia/Qwen3-30B-A3B-FP8"}, {"quantization": "fp8"}),
        ({"model": "/models/Qwen3-30B-A3B/"}, {}),
        ({"vllm_version": "v0.19.0+cu128"}, {"version": "0.19.0+cu128"}),
        ({"engine_kwargs": {"tensor_parallel_size": "2"}}, {"tensor_parallel": 2}),
        ({"engine_kwargs": {"max_num_seqs": 64.0}}, {"max_num_seqs": 64}),
        ({"resolved_config": {"parallel_config": {"tensor_parallel_size": 2}}}, {"tensor_parallel": 2}),
        ({"resolved_config": {"scheduler_config": {"max_num_batched_tokens": 8192}}}, {"max_num_batched_tokens": 8192}),
        ({"engine_kwargs": {"kv_cache_dtype": "fp8_e4m3"}}, {"kv_cache_dtype": "fp8"}),
        ({"engine_kwargs": {"enable_expert_parallel": True}}, {"expert_parallel": True}),
        (
            {"model": "meta-llama/Llama-3.1-8B", "engine_kwargs": {"data_parallel_size": 2}},
            {"model": "llama-3.1-8b", "replicas": 2},
        ),
        ({"resolved_config": {"scheduler_config": {"async_scheduling": False}}}, {"asynchronous": False}),
        ({"kv_cache": {"enable_prefix_caching": False}}, {"prefix_caching": False}),
        ({"hardware": {"device_name": "NVIDIA RTX PRO 6000 Blackwell Server Edition"}}, {"hardware": "rtx_pro_6000"}),
    ],
)
def test_settings_are_taken_over(tmp_path, meta, changed):
    plain = {"model": "Qwen/Qwen3-30B-A3B", "hardware": {"device_name": "NVIDIA H100"}}
    before = read_run(save(tmp_path / "plain", plain, [stamps(0.0)])).setup
    after = read_run(save(tmp_path / "changed", {**plain, **meta}, [stamps(0.0)])).setup
    assert after == replace(before, **changed)


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ({"hardware": {"device_name": "Tesla V100"}}, "no hardware profile for 'Tesla V100'"),
        ({"model": "nobody/Unheard-13B"}, "model 'nobody/Unheard-13B' is not known"),
        ({"kv_cache": {"num_gpu_blocks": 4, "block_size": 16}}, "1 of 1 requests cannot be served"),
    ],
)
def test_a_run_that_cannot_be_simulated_is_listed(tmp_path, meta, reason):
    verdict = validate_requests(save(tmp_path / "run", {**META, **meta}, [stamps(0.0)]))
    assert (verdict["groups"], verdict["overall"]["not_covered"]) == ([], 1)
    assert reason in verdict["not_covered"][0]["reason"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (stamps(0.0, first=2.0, last=1.0), "times are not in order"),
        (stamps(0.0, first=float("nan")), "times are not in order"),
        (stamps(0.0, output=0), "output_toks is 0"),
        (stamps(0.0) | {"input_toks": None}, "input_toks is missing"),
        (stamps(0.0) | {"queued_ts": float("inf")}, "a time is not finite"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, row, message):
    folder = save(tmp_path / "run", META, [stamps(0.0), row])
    with pytest.raises(InputError, match=message) as error:
        validate_requests(folder)
    assert error.value.where == f"{folder / 'requests.jsonl'}:2"


@pytest.mark.parametrize("experts", [False, True])
def test_groups_that_share_experts_run_in_step(tmp_path, experts):
    asked = {"data_parallel_size": 2, "enable_expert_parallel": experts, "max_num_seqs": 64}
    meta = {**META, "model": "Qwen/Qwen3-30B-A3B", "engine_kwargs": asked}
    run = read_run(save(tmp_path / "run", meta, [stamps(0.0)]))
    assert (run.setup.replicas, run.setup.tensor_parallel, run.setup.expert_parallel) == (1, 2, experts)
    assert (run.setup.max_num_seqs, run.setup.kv_blocks) == (128, 198)
    (assumed,) = validate_requests(tmp_path / "run")["assumptions"]
    assert "run in step" in assumed


def test_an_older_engine_than_any_known_is_said(tmp_path):
    verdict = validate_requests(save(tmp_path / "run", {**META, "vllm_version": "0.6.1"}, [stamps(0.0)]))
    assert verdict["assumptions"] == ["vllm 0.6.1 is older than every build known: simulated as 0.8."]


def test_one_unreadable_run_does_not_keep_the_others(tmp_path):
    save(tmp_path / "good", META, [stamps(0.0)])
    save(tmp_path / "wrong", META, [stamps(0.0, output=0)])
    save(tmp_path / "odd", {**META, "kv_cache": {"num_gpu_blocks": "many"}}, [stamps(0.0)])
    verdict = validate_requests(tmp_path)
    assert [run["run"] for run in verdict["groups"]] == ["good"]
    reasons = {run["run"]: run["reason"] for run in verdict["not_covered"]}
    assert "output_toks is 0" in reasons["wrong"] and "num_gpu_blocks is 'many'" in reasons["odd"]


def test_answers_in_one_piece_have_no_tpot_to_compare(tmp_path):
    verdict = validate_requests(save(tmp_path / "run", META, [stamps(0.0, first=2.0, last=2.0)]))
    assert sorted(verdict["groups"][0]["errors"]) == ["e2el", "ttft"]


def test_what_is_no_run_is_said(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        validate_requests(tmp_path / "missing")
    with pytest.raises(InputError, match="no recorded runs here"):
        validate_requests(tmp_path)
    folder = save(tmp_path / "run", META, [{"input_toks": 5}])
    with pytest.raises(InputError, match="requests have no 'output_toks'"):
        validate_requests(folder)
    (folder / "meta.json").write_text("{")
    with pytest.raises(InputError, match="cannot read the run's settings"):
        validate_requests(folder)


@pytest.mark.skipif(not MEASURED.is_dir(), reason="the recorded runs are not here")
def test_the_measured_runs_are_read():
    runs = {folder.name: read_run(folder) for folder in sorted(MEASURED.iterdir())}
    assert {name: len(run.workload) for name, run in runs.items()} == dict.fromkeys(runs, 300)
    memory = runs["RTX4090_Llama-3.1-8B"]
    assert (memory.setup.kv_blocks, memory.setup.asynchronous) == (2587, True)
    # Means over requests, as they come from the stamps: 65.5 s and 86.6 s.
    assert memory.ttft.mean() == pytest.approx(65_486, abs=1) and memory.e2el.mean() == pytest.approx(86_608, abs=1)
