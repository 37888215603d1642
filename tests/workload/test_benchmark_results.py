"""Result files of benchmark clients: requests, latencies and how they were sent, whoever wrote them."""

import json

import numpy as np
import pytest

from simulator.core import InputError
from simulator.workload.readers.benchmark_results import read_benchmark

VLLM = {
    "request_throughput": 1.0,
    "total_input_tokens": 60,
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": 2,
    "input_lens": [10, 20, 30],
    "output_lens": [3, 1, 2],
    "ttfts": [0.1, 0.2, 0.3],
    "itls": [[0.01, 0.03], [], [0.05]],
    "errors": ["", "", ""],
}


def aiperf(start_ns, ttft, latency, prompt=10, output=3, phase="profiling", unit="ms", error=None):
    return {
        "metadata": {"request_start_ns": start_ns, "benchmark_phase": phase, "was_cancelled": False},
        "metrics": {
            "input_sequence_length": {"value": prompt, "unit": "tokens"},
            "output_sequence_length": {"value": output, "unit": "tokens"},
            "time_to_first_token": {"value": ttft, "unit": unit},
            "request_latency": {"value": latency, "unit": unit},
        },
        "error": error,
    }


def guidellm(strategy, *requests, total=None):
    return {
        "benchmarks": [
            {
                "config": {"strategy": strategy},
                "metrics": {"request_totals": {"successful": len(requests) if total is None else total}},
                "requests": {"successful": list(requests), "incomplete": [], "errored": []},
            }
        ]
    }


def one(start, ttft=100.0, gap=20.0, output=3, **keys):
    return {"request_start_time": start, "prompt_tokens": 10, "output_tokens": output, "time_to_first_token_ms": ttft,
            "inter_token_latency_ms": gap, "request_latency": (ttft + gap * (output - 1)) / 1e3, **keys}  # fmt: skip


def save(path, value):
    lines = value if isinstance(value, list) else None
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines) if lines else json.dumps(value))
    return path


def test_vllm_bench(tmp_path):
    (run,) = read_benchmark(save(tmp_path / "bench.json", VLLM))
    assert (run.name, run.concurrency, run.sent_s) == ("bench", 2, None)
    assert (run.prompt.tolist(), run.output.tolist()) == ([10, 20, 30], [3, 1, 2])
    assert run.ttft == pytest.approx([100, 200, 300]) and run.e2el == pytest.approx([140, 200, 350])
    assert run.tpot == pytest.approx([20, np.nan, 50], nan_ok=True)
    workload = run.workload()
    assert workload.closed_loop.concurrency == 2 and workload.prompt_tokens.tolist() == [10, 20, 30]


def test_vllm_requests_that_failed_are_left_out(tmp_path):
    (run,) = read_benchmark(save(tmp_path / "b.json", {**VLLM, "errors": ["", "timeout", ""]}))
    assert run.prompt.tolist() == [10, 30]
    (run,) = read_benchmark(save(tmp_path / "b.json", {**VLLM, "output_lens": [3, 1, 0]}))
    assert run.prompt.tolist() == [10, 20]


def test_vllm_times_of_sending_are_replayed_where_a_rate_was_set(tmp_path):
    timed = {**VLLM, "request_rate": 2.0, "start_times": [50.0, 50.75, 50.25]}
    (run,) = read_benchmark(save(tmp_path / "bench.json", timed))
    assert run.concurrency is None and run.prompt.tolist() == [10, 30, 20]
    assert run.ttft == pytest.approx([100, 300, 200])
    assert run.workload().arrival_ps.tolist() == [0, 250_000_000_000, 750_000_000_000]


def test_vllm_times_that_were_not_recorded_are_drawn_at_the_rate(tmp_path):
    many = {key: value * 400 if isinstance(value, list) else value for key, value in VLLM.items()}
    (run,) = read_benchmark(save(tmp_path / "bench.json", {**many, "request_rate": 2.0, "burstiness": 4.0}))
    gaps = np.diff(run.workload(1).arrival_ps) / 1e12
    assert gaps.mean() == pytest.approx(0.5, rel=0.05) and gaps.std() / gaps.mean() == pytest.approx(0.5, rel=0.1)


def test_aiperf(tmp_path):
    base = 1_759_813_207_000_000_000
    records = [
        aiperf(base + 2_000_000_000, 0.2, 0.4, prompt=20, unit="s"),
        aiperf(base, 100.0, 140.0),
        aiperf(base - 5, 1.0, 2.0, phase="warmup"),
        aiperf(base, 1.0, 2.0, error={"type": "Timeout"}),
        {"metadata": {"request_start_ns": base, "was_cancelled": True}, "metrics": {}, "error": {"code": 499}},
    ]
    (run,) = read_benchmark(save(tmp_path / "profile_export.jsonl", records))
    assert (run.prompt.tolist(), run.concurrency) == ([10, 20], None)
    assert run.ttft == pytest.approx([100, 200]) and run.tpot == pytest.approx([20, 100])
    assert run.workload().arrival_ps == pytest.approx([0, 2_000_000_000_000], abs=1e6)


def test_aiperfs_summary_leads_to_its_records_and_tells_the_concurrency(tmp_path):
    save(tmp_path / "profile_export.jsonl", [aiperf(10**18, 100.0, 140.0)])
    summary = save(tmp_path / "profile_export_aiperf.json", {"input_config": {"loadgen": {"concurrency": 7}}})
    (run,) = read_benchmark(summary)
    assert run.concurrency == 7
    save(summary, {"input_config": {"loadgen": {"concurrency": 7, "request_rate": 3.0}}})
    assert read_benchmark(summary)[0].concurrency is None


@pytest.mark.parametrize(
    ("strategy", "concurrency"),
    [
        ({"type_": "concurrent", "streams": 8}, 8),
        ({"type_": "synchronous"}, 1),
        ({"type_": "poisson", "rate": 3}, None),
    ],
)
def test_guidellm(tmp_path, strategy, concurrency):
    (run,) = read_benchmark(save(tmp_path / "benchmarks.json", guidellm(strategy, one(101.5), one(100.0, ttft=50.0))))
    assert (run.concurrency, run.name) == (concurrency, f"benchmarks 0 {strategy['type_']}")
    assert run.ttft == pytest.approx([50, 100]) and run.tpot == pytest.approx([20, 20])
    assert run.e2el == pytest.approx([90, 140])
    if concurrency is None:
        assert run.workload().arrival_ps.tolist() == [0, 1_500_000_000_000]


def test_guidellm_has_a_run_for_each_benchmark_and_older_names(tmp_path):
    older = guidellm({"type_": "constant"}, {**one(None), "start_time": 7.0})
    del older["benchmarks"][0]["requests"]["successful"][0]["request_start_time"]
    older["benchmarks"] *= 2
    runs = read_benchmark(save(tmp_path / "benchmarks.json", older))
    assert [run.name for run in runs] == ["benchmarks 0 constant", "benchmarks 1 constant"]
    assert runs[1].sent_s.tolist() == [7.0]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("a.json", {key: VLLM[key] for key in VLLM if key != "itls"}, "no 'itls': the file has no single requests"),
        ("a.json", {**VLLM, "ttfts": [0.1]}, "differ in length"),
        ("a.json", {**VLLM, "input_lens": [10, 2.5, 30]}, r"input_lens\[1\] is 2.5, not a number of tokens"),
        ("a.json", {**VLLM, "input_lens": [10, "x", 30]}, "input_lens is not a list of numbers"),
        ("a.json", {**VLLM, "errors": ["a", "b", "c"]}, "no request completed"),
        ("a.json", {"latency": 5}, "not a result file"),
        ("a.json", [1], "not a result file|not a JSON object"),
        ("a.jsonl", [{"latency": 5}], "not a result file"),
        ("a.jsonl", [aiperf(0, 1.0, 2.0, phase="warmup")], "no request completed"),
        ("b.json", {"benchmarks": []}, "no benchmarks"),
        ("b.json", guidellm({"type_": "constant"}), "no successful requests"),
        ("b.json", guidellm({"type_": "constant"}, one(1.0), total=50), "a sample of 1 of 50 requests"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, name, value, message):
    with pytest.raises(InputError, match=message):
        read_benchmark(save(tmp_path / name, value))


def test_a_run_that_does_not_say_how_it_was_sent(tmp_path):
    (run,) = read_benchmark(save(tmp_path / "bench.json", {**VLLM, "max_concurrency": None}))
    with pytest.raises(InputError, match="neither times of sending nor a rate or concurrency"):
        run.workload()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no such"):
        read_benchmark(tmp_path / "bench.json")
