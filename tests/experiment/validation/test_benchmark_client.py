"""The benchmark client's protocol: lengths, warm-ups, the opening burst, the gap before the next request."""

import numpy as np
import pytest

from simulator.core import PS_PER_S
from simulator.experiment.validation.predict import predict
from simulator.experiment.validation.setup import Setup
from simulator.workload.generators.benchmark_client import BenchmarkClient

SETUP = Setup("h100_sxm", "llama-3.1-8b", prefix_caching=False)


def test_lengths_lie_between_the_shortest_and_nominal():
    workload = BenchmarkClient(4, 1000, 200, requests=3000, shortest=0.8).workload(1)
    for lengths, low, high in ((workload.prompt_tokens, 800, 1000), (workload.output_tokens, 160, 200)):
        assert (lengths.min(), lengths.max()) == (low, high)
        assert lengths.mean() == pytest.approx((low + high) / 2, rel=0.01)
    assert not np.array_equal(workload.prompt_tokens[:9] * 0.2, workload.output_tokens[:9])


def test_without_a_spread_all_are_nominal():
    workload = BenchmarkClient(4, 1000, 200, requests=40, warmups=8).workload(1)
    assert set(workload.prompt_tokens) == {1000} and set(workload.output_tokens) == {200}
    assert len(workload) == 48 and workload.closed_loop.concurrency == 4


def test_the_same_seed_gives_the_same_requests():
    client = BenchmarkClient(4, 1000, 200, requests=40, shortest=0.5)
    assert np.array_equal(client.workload(3).prompt_tokens, client.workload(3).prompt_tokens)
    assert not np.array_equal(client.workload(3).prompt_tokens, client.workload(4).prompt_tokens)


def test_the_burst_comes_after_all_warm_ups_ended_and_is_sent_at_once():
    client = BenchmarkClient(4, 300, 20, requests=12, warmups=6, shortest=0.5)
    whole = predict(SETUP, client.workload(0), seed=0)
    warm = predict(SETUP, client.workload(0), warmups=6, seed=0)
    assert len(whole.ttft) == 18 and len(warm.ttft) == 12
    assert len(set(warm.sent[:4])) == 1 and warm.sent[4] > warm.sent[0]
    # Six warm-ups in flight four at a time take two rounds: the burst begins when the last of them is answered.
    alone = predict(SETUP, client.workload(0).take(np.arange(6)), seed=0)
    assert warm.sent[0] == pytest.approx(alone.ended.max())


def test_warm_ups_leave_nothing_in_the_figures():
    client = BenchmarkClient(3, 400, 30, requests=15, warmups=5, shortest=0.6)
    workload = client.workload(2)
    warm = predict(SETUP, workload, warmups=5)
    fresh = predict(SETUP, workload.take(np.arange(5, 20)))
    for name in ("ttft", "tpot", "e2el", "output_tokens"):
        assert getattr(warm, name) == pytest.approx(getattr(fresh, name), rel=1e-12)
    for percent in (0, 50, 90, 100):
        assert warm.itl(percent) == pytest.approx(fresh.itl(percent), rel=1e-12)


def test_the_next_request_follows_an_answer_after_the_gap():
    prediction = predict(SETUP, BenchmarkClient(2, 200, 10, requests=8, gap_s=0.005).workload(0))
    free = np.sort(prediction.ended)[:6] + 0.005
    assert np.sort(prediction.sent)[2:] == pytest.approx(free, abs=2 / PS_PER_S)


def test_latencies_are_those_of_the_benchmark_client():
    prediction = predict(SETUP, BenchmarkClient(2, 200, 10, requests=6).workload(0))
    assert prediction.e2el == pytest.approx((prediction.ended - prediction.sent) * 1e3)
    assert prediction.tpot == pytest.approx((prediction.e2el - prediction.ttft) / 9)
    single = predict(SETUP, BenchmarkClient(2, 200, 1, requests=6).workload(0))
    assert np.isnan(single.tpot).all() and single.ttft == pytest.approx(single.e2el)
