"""A request's way adds up: its phases make its latency, its spans make its tokens, and its pauses show."""

import pytest

from simulator.core import InputError
from simulator.experiment.load import load_experiment
from simulator.experiment.runner import run_experiment
from simulator.experiment.stored.folder import find_runs
from simulator.experiment.stored.frames import Results
from simulator.experiment.stored.request_way import request_way, slowest

EXPERIMENT = """\
name: tight
workload:
  arrivals: {process: poisson, rate: 30/s}
  prompt: {distribution: uniform, min: 20, max: 900}
  output: {distribution: uniform, min: 1, max: 200}
  requests: 150
model: llama-3.1-8b
cluster:
  instances:
    - {count: 2, hardware: l40s, kv_blocks: 170, scheduler: {max_num_seqs: 64, max_num_batched_tokens: 512}}
compare: {fast: {}, other: {cluster.router: round_robin}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("way")
    (folder / "x.yaml").write_text(EXPERIMENT)
    return run_experiment(load_experiment(folder / "x.yaml"), folder).folder


@pytest.fixture(scope="module")
def run(folder):
    return find_runs(f"{folder}/fast")[0]


@pytest.fixture(scope="module")
def requests(folder):
    frame = Results(folder).requests
    return frame[(frame.run == "fast") & (frame.status == "completed")]


def test_every_requests_time_adds_up(run, requests):
    for row in requests.itertuples():
        way = request_way(run, row.request)
        assert sum(way["spent_ms"].values()) == pytest.approx(row.e2el_ms, rel=1e-9), row.request
        assert min(way["spent_ms"].values()) > -1e-6
        assert way["spent_ms"]["queue"] + way["spent_ms"]["prefill"] == pytest.approx(row.ttft_ms)
        assert sum(span["tokens"] for span in way["spans"]) == row.output_tokens
        assert way["spans"][0]["first_token_s"] == row.first_token_s
        assert way["spans"][-1]["last_token_s"] == row.finished_s


def test_events_come_in_order_and_name_the_way(run, requests):
    quiet = requests[(requests.preemptions == 0) & (requests.output_tokens > 1)].iloc[0]
    way = request_way(run, quiet.request)
    names = [event["event"] for event in way["events"]]
    assert names[:3] == ["arrives", "admitted", "prefill iteration"]
    assert names[-3:] == ["first token", "has decoded", "completed"]
    times = [event["at_s"] for event in way["events"]]
    assert times == sorted(times)


def test_a_preempted_requests_pause_shows(run, requests):
    ways = [request_way(run, number) for number in requests[requests.preemptions > 0].request]
    paused = [way for way in ways if len(way["spans"]) > 1]
    assert paused, "some lose their blocks while they decode"
    for way in paused:
        assert way["spent_ms"]["paused"] > 0
        assert "goes on" in [event["event"] for event in way["events"]]
        assert len(way["spans"]) - 1 <= way["preemptions"]


def test_a_long_prompts_chunks_show(run, requests):
    long = requests[(requests.prompt_tokens > 600) & (requests.preemptions == 0)].iloc[0]
    events = [event["event"] for event in request_way(run, long.request)["events"]]
    assert events.count("prefill iteration") >= 2, "512 tokens an iteration"


def test_the_slowest_are_the_slowest(run, requests):
    rows = slowest(run, 10)
    longest = requests.sort_values("e2el_ms", ascending=False)
    assert [row["request"] for row in rows] == longest.request[:10].tolist()
    for row in rows:
        assert row["queue_ms"] + row["prefill_ms"] + row["decode_ms"] == pytest.approx(row["e2el_ms"])


def test_a_failed_request_says_why(tmp_path):
    (tmp_path / "x.yaml").write_text(EXPERIMENT.replace("kv_blocks: 170", "kv_blocks: 170, max_model_len: 300"))
    folder = run_experiment(load_experiment(tmp_path / "x.yaml"), tmp_path).folder
    frame = Results(folder).requests
    failed = frame[(frame.run == "fast") & (frame.status == "failed")].iloc[0]
    way = request_way(find_runs(f"{folder}/fast")[0], failed.request)
    assert way["spent_ms"] == {}
    assert "exceed the context limit of 300" in way["events"][-1]["detail"]


def test_a_request_that_there_is_not(run):
    with pytest.raises(InputError, match="run 'fast' has no request 150"):
        request_way(run, 150)
