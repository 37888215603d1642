"""Full engines: the steady gap between tokens is that of the whole batch; our own figures are found again."""

import csv

import pytest

from simulator.core import InputError
from simulator.experiment.validation.measured_csv import read_rows
from simulator.experiment.validation.predict import predict
from simulator.experiment.validation.saturated import REQUIRED, client_of, setup_of, steady_itl, validate_saturated
from simulator.experiment.validation.setup import Setup
from simulator.workload.generators.benchmark_client import BenchmarkClient

ROW = {
    "avg_batch_size": "8.0",
    "avg_output_len": "80",
    "gpu_model": "H100",
    "max_num_seqs": "8",
    "median_itl_ms": "10",
    "num_gpus": "1",
    "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "weight_precision": "bfloat16",
    "par_tensor_parallel": "1",
    "par_expert_parallel": "1",
    "par_data_parallel": "1",
    "task": "chat",
}


def write(path, *rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ROW)
        writer.writeheader()
        writer.writerows({**ROW, **row} for row in rows)
    return path


def test_our_own_latencies_have_no_error(tmp_path):
    rows = [{}, {"avg_batch_size": "15.6", "max_num_seqs": "16"}, {"num_gpus": "2", "par_tensor_parallel": "2"}]
    for row, read in zip(rows, read_rows(write(tmp_path / "bare.csv", *rows), REQUIRED), strict=True):
        batch = round(read.latency("avg_batch_size"))
        row["median_itl_ms"] = steady_itl(predict(setup_of(read), client_of(read, batch).workload(0)), batch)
    verdict = validate_saturated(write(tmp_path / "points.csv", *rows))
    assert verdict["overall"] == {"points": 3, "itl_mape": 0.0, "itl_bias": 0.0, "not_covered": 0}
    assert [(group["gpus"], group["parallelism"]) for group in verdict["groups"]] == [(1, "tp1"), (2, "tp2")]
    assert [row["max_num_seqs"] for row in verdict["regions"]["max_num_seqs"]] == [8, 16]


def test_only_the_full_batch_counts():
    setup = Setup("h100_sxm", "llama-3.1-8b", max_num_seqs=64)
    prediction = predict(setup, BenchmarkClient(32, 100, 50, requests=40).workload(0))
    alone = predict(setup, BenchmarkClient(1, 100, 50, requests=1).workload(0))
    assert steady_itl(prediction, 32) > 1.05 * steady_itl(alone, 1)
    with pytest.raises(InputError, match="batch of 64 is full for 0%"):
        steady_itl(prediction, 64)


def test_measured_slower_is_a_negative_error(tmp_path):
    (point,) = validate_saturated(write(tmp_path / "points.csv", {}))["points"]
    assert point["itl_error"] == pytest.approx(point["itl_ms"] / 10 - 1) and point["itl_error"] < 0


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"max_num_seqs": "1024"}, "not between 8 and 768 sequences"),
        ({"model_id": "nobody/Unheard-13B"}, "not known"),
        ({"gpu_model": "MI300X"}, "no hardware profile"),
        ({"par_data_parallel": "2"}, "data parallelism"),
        ({"num_gpus": "1.5"}, "num_gpus is 1.5, not a whole number"),
        ({"median_itl_ms": ""}, "median_itl_ms is missing"),
        ({"max_num_seqs": "many"}, "max_num_seqs is 'many', not a number"),
        ({"avg_batch_size": "500", "max_num_seqs": "512", "avg_output_len": "7000"}, "the KV cache does not hold it"),
    ],
)
def test_rows_that_cannot_be_compared_are_listed(tmp_path, row, reason):
    verdict = validate_saturated(write(tmp_path / "points.csv", row))
    assert verdict["overall"] == {"points": 0, "itl_mape": None, "itl_bias": None, "not_covered": 1}
    assert reason in verdict["not_covered"][0]["reason"]


def test_a_later_quantile_is_an_iteration_with_a_prompt():
    setup = Setup("h100_sxm", "llama-3.1-8b", max_num_seqs=64)
    prediction = predict(setup, BenchmarkClient(8, 2000, 50, requests=80, shortest=0.5).workload(0))
    median, late = steady_itl(prediction, 8), steady_itl(prediction, 8, 0.99)
    assert late > 2 * median


@pytest.mark.parametrize(
    ("task", "prompt", "varies"), [("lm-arena-chat", 250, 1.0), ("gpqa", 250, 0.45), ("", 250, 1.0)]
)
def test_lengths_follow_the_laws_of_the_task(tmp_path, task, prompt, varies):
    row = {"task": task, "avg_output_len": "700", "avg_batch_size": "256", "max_num_seqs": "256"}
    (read,) = read_rows(write(tmp_path / "points.csv", row), REQUIRED)
    workload = client_of(read, 256).workload(3)
    prompts, outputs = workload.prompt_tokens, workload.output_tokens
    assert len(prompts) == 6 * 256
    assert prompts.mean() == pytest.approx(prompt, rel=0.1)
    assert outputs.mean() == pytest.approx(700, rel=0.01)
    assert outputs.std() / outputs.mean() == pytest.approx(varies, rel=0.03)
    assert sorted(prompts) == sorted(client_of(read, 256).workload(4).prompt_tokens), "the seed sets the order alone"


def test_experts_run_whole_where_the_row_says_so(tmp_path):
    row = {"model_id": "Qwen/Qwen3-30B-A3B-Instruct-2507", "num_gpus": "2", "par_expert_parallel": "2"}
    (read,) = read_rows(write(tmp_path / "points.csv", row), REQUIRED)
    setup = setup_of(read)
    assert (setup.tensor_parallel, setup.expert_parallel, setup.asynchronous) == (2, True, True)
    assert (setup.version, setup.sampling) == ("0.11", "top_p")


def test_gpt_oss_draws_from_all_tokens(tmp_path):
    (read,) = read_rows(write(tmp_path / "points.csv", {"model_id": "openai/gpt-oss-20b"}), REQUIRED)
    assert setup_of(read).sampling == "random"
