"""Open-loop runs: stages that the simulator measured itself are found again; overload is compared by its growth."""

import csv

import numpy as np
import pytest

from simulator.core import InputError, Streams
from simulator.experiment.validation.measured_csv import read_rows
from simulator.experiment.validation.open_loop import REQUIRED, tpot_of, validate_open_loop
from simulator.experiment.validation.open_loop_stage import setup_of, workload_of
from simulator.experiment.validation.predict import predict
from simulator.workload.generators.prompt_pool import PromptPool

ROW = {
    "run": "a",
    "stage": "stage_0",
    "system": "h100_sxm",
    "engine": "vllm",
    "engine_version": "",
    "arrivals": "constant",
    "model": "meta-llama/Llama-3.1-8B",
    "tp": "1",
    "max_num_batched_tokens": "2048",
    "max_num_seqs": "16",
    "request_rate": "5.0",
    "requests": "60",
    "completed": "60",
    "system_prompt_tokens": "100",
    "question_tokens": "150",
    "output_tokens": "40",
    "num_system_prompts": "3",
    "users_per_system_prompt": "2",
    "measured_prompt_tokens_mean": "256.4",
    "measured_output_tokens_mean": "37.0",
    **dict.fromkeys(("ttft_mean_ms", "ttft_p50_ms", "ttft_p90_ms", "ttft_p99_ms"), "10"),
    "e2e_mean_ms": "400",
    "tpot_mean_ms": "11",
}


def write(path, *rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ROW)
        writer.writeheader()
        writer.writerows({**ROW, **row} for row in rows)
    return path


def figures(ttft, e2el, tpot):
    p50, p90, p99 = np.percentile(ttft, [50, 90, 99])
    return {"ttft_mean_ms": ttft.mean(), "ttft_p50_ms": p50, "ttft_p90_ms": p90, "ttft_p99_ms": p99,
            "e2e_mean_ms": e2el.mean(), "tpot_mean_ms": tpot.mean()}  # fmt: skip


def test_our_own_stages_have_no_error_and_summaries_are_skipped(tmp_path):
    stages = [{}, {"stage": "stage_1", "request_rate": "20.0", "requests": "90", "completed": "90"}]
    rows = read_rows(write(tmp_path / "bare.csv", *stages), REQUIRED)
    served = predict(setup_of(rows[0]), workload_of(rows, 0))
    assert len(served.ttft) == 150
    for stage, part in zip(stages, (slice(0, 60), slice(60, 150)), strict=True):
        stage.update(figures(served.ttft[part], served.e2el[part], served.tpot[part]))
    verdict = validate_open_loop(write(tmp_path / "runs.csv", *stages, {"stage": "summary", "ttft_mean_ms": "1"}))
    overall = verdict["overall"]
    assert (overall["points"], overall["overloaded"], overall["not_covered"]) == (2, 0, 0)
    for name in ("ttft_mean", "ttft_p50", "ttft_p90", "ttft_p99", "e2e_mean", "tpot_mean"):
        assert overall[f"{name}_mape"] == pytest.approx(0, abs=1e-9)
    assert overall["growth_mape"] is None


def test_repeated_prompts_are_found_in_the_cache():
    table = PromptPool(3, 2, 100, 256).prefixes(60, Streams(0).get("prompts"))
    assert table.offsets.tolist() == list(range(0, 122, 2))
    prompts = table.ids[1::2]
    assert sorted(prompts[:6]) == [3, 4, 5, 6, 7, 8] and prompts[:6].tolist() == prompts[6:12].tolist()
    assert ((prompts - 3) // 2 == table.ids[::2]).all()
    assert set(table.end_tokens[::2]) == {100} and set(table.end_tokens[1::2]) == {256}


def test_a_first_pass_computes_what_later_ones_find(tmp_path):
    (row,) = read_rows(write(tmp_path / "run.csv", {"measured_prompt_tokens_mean": "3000"}), REQUIRED)
    served = predict(setup_of(row), workload_of([row], 0))
    assert served.ttft[:6].min() > 2 * served.ttft[6:].max()


def test_outputs_are_as_long_as_was_asked_for_however_the_text_was_counted(tmp_path):
    # 37 tokens of text, counted again, were 40 to the engine: a token took a 39th of what decoding did.
    rows = read_rows(write(tmp_path / "run.csv", {}), REQUIRED)
    assert set(workload_of(rows, 0).output_tokens.tolist()) == {40}
    assert tpot_of(rows[0]) == pytest.approx((400 - 10) / 39)
    longer = read_rows(write(tmp_path / "more.csv", {"measured_output_tokens_mean": "41.3"}), REQUIRED)
    assert tpot_of(longer[0]) == tpot_of(rows[0])


def test_a_server_for_few_requests_computes_prompts_without_graphs(tmp_path):
    few, many = (
        predict(setup_of(row), workload_of([row], 0))
        for row in read_rows(write(tmp_path / "run.csv", {"max_num_seqs": "64"}, {"max_num_seqs": "256"}), REQUIRED)
    )
    assert few.ttft[0] > many.ttft[0]  # 256 tokens: more than 2 x 64, no more than 2 x 256
    assert np.median(few.tpot) == pytest.approx(np.median(many.tpot), rel=0.02)  # 16 requests decode alike


def overload(rate, service, completed):
    """Return a row of an overloaded run whose queue grows by ``rate - service`` requests a second."""
    wait = completed / 2 * (1 / service - 1 / rate)
    return {"request_rate": str(rate), "requests": "400", "completed": str(completed), "ttft_p50_ms": str(wait * 1e3)}


def test_overload_is_compared_by_how_fast_the_queue_grows(tmp_path):
    verdict = validate_open_loop(write(tmp_path / "run.csv", overload(200.0, 20.0, 300) | {"max_num_seqs": "2"}))
    (stage,) = verdict["groups"]
    assert (verdict["overall"]["points"], verdict["overall"]["overloaded"]) == (0, 1)
    assert stage["measured_growth"] == pytest.approx(180)
    assert verdict["overall"]["growth_mape"] == pytest.approx(abs(stage["predicted_growth"] / 180 - 1))
    # What the simulated engine serves a second is what its queue does not grow by.
    rows = read_rows(tmp_path / "run.csv", REQUIRED)
    served = predict(setup_of(rows[0]), workload_of(rows, 0))
    rate = 300 / (np.sort(served.ended)[299] - served.sent[0])
    assert 200 - stage["predicted_growth"] == pytest.approx(rate, rel=0.05)


def test_runs_that_cannot_be_simulated_are_listed(tmp_path):
    verdict = validate_open_loop(write(tmp_path / "run.csv", {}, {"run": "b", "model": "nobody/Unheard-13B"}))
    assert verdict["overall"]["not_covered"] == 1
    assert verdict["not_covered"][0]["run"] == "b" and "not known" in verdict["not_covered"][0]["reason"]


def test_requests_come_evenly_or_at_random_as_recorded(tmp_path):
    rows = read_rows(write(tmp_path / "run.csv", {}, {"arrivals": "Poisson"}), REQUIRED)
    even, random = (np.diff(workload_of([row], 0).arrival_ps) / 1e12 for row in rows)
    np.testing.assert_allclose(even, 0.2)
    assert random.std() > 0.5 * 0.2 and random.mean() == pytest.approx(0.2, rel=0.4)


def test_without_a_pool_no_prompt_is_found_in_the_cache(tmp_path):
    (row,) = read_rows(write(tmp_path / "run.csv", {"num_system_prompts": "", "users_per_system_prompt": ""}), REQUIRED)
    assert workload_of([row], 0).prefix is None


def test_engines_are_named_as_in_other_measured_files(tmp_path):
    rows = [{"engine": "vLLM", "engine_version": "v0.11.0"}, {"run": "b", "engine": "SGLang"}]
    verdict = validate_open_loop(write(tmp_path / "run.csv", *rows))
    assert verdict["overall"]["points"] == 2
    assert any("sglang" in line.lower() and "no profile" in line for line in verdict["assumptions"])


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"requests": "0"}, "requests is 0"),
        ({"request_rate": ""}, "request_rate is missing"),
        ({"request_rate": "abc"}, "request_rate is 'abc'"),
        ({"e2e_mean_ms": "9"}, "e2e_mean_ms is not above ttft_mean_ms"),
        ({"arrivals": "bursty"}, "bursty"),
    ],
)
def test_a_run_with_a_wrong_row_is_listed_and_the_rest_goes_on(tmp_path, cells, reason):
    verdict = validate_open_loop(write(tmp_path / "run.csv", {"run": "bad"} | cells, {}))
    assert (verdict["overall"]["points"], verdict["overall"]["not_covered"]) == (1, 1)
    (line,) = verdict["not_covered"]
    assert line["run"] == "bad" and reason in line["reason"] and line["where"].endswith("run.csv:2")


def test_a_file_of_summaries_alone_is_an_error(tmp_path):
    with pytest.raises(InputError, match="every row is a summary"):
        validate_open_loop(write(tmp_path / "run.csv", {"stage": "summary"}))
