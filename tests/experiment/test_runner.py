"""Running an experiment: what it writes, that it repeats itself to the byte, and what an interruption leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.core import InputError
from simulator.experiment import runner
from simulator.experiment.load import load_experiment
from simulator.experiment.runner import run_experiment

EXPERIMENT = """\
name: small
workload:
  arrivals: {process: poisson, rate: 40/s}
  prompt: {distribution: uniform, min: 20, max: 900}
  output: {distribution: uniform, min: 1, max: 60}
  requests: 1300
  prefix: PREFIX
model: llama-3.1-8b
cluster:
  instances: [{count: 2, hardware: l40s, kv_blocks: 150}, {hardware: h100_sxm}]
  router: power_of_two
slo: {ttft: 500ms, tpot: 50ms}
compare:
  one: {}
  other: {cluster.router: session_affinity}
""".replace("  prefix: PREFIX\n", "")


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(EXPERIMENT)
    return file


def without_timing(summary):
    runs = [{key: value for key, value in run.items() if key != "timing"} for run in summary["runs"]]
    return {**summary, "runs": runs}


def contents(folder: Path):
    """Return the bytes of everything in a results folder that must not differ between repeats."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["summary.json"] = json.dumps(without_timing(json.loads(files["summary.json"]))).encode()
    return files


def test_a_run_repeats_itself_to_the_byte_and_so_do_exact_steps(file, tmp_path):
    loaded = load_experiment(file)
    once, again, exact = (
        contents(run_experiment(loaded, tmp_path / name, exact_steps=name == "exact").folder)
        for name in ("once", "again", "exact")
    )
    tables = {"requests.parquet", "iterations.parquet", "spans.parquet"}
    assert set(once) == tables | {"config.resolved.yaml", "summary.json", "summary.csv"}
    assert once == again
    assert once["requests.parquet"] == exact["requests.parquet"]
    assert once["spans.parquet"] == exact["spans.parquet"]
    assert once["iterations.parquet"] != exact["iterations.parquet"], "which has a row for every iteration"


def test_another_seed_is_another_run(file, tmp_path):
    first, second = (
        run_experiment(load_experiment(file, [f"seed={seed}"]), tmp_path / str(seed)).folder for seed in (1, 2)
    )
    assert (first / "requests.parquet").read_bytes() != (second / "requests.parquet").read_bytes()


def test_results_do_not_depend_on_hash_seeds(file, tmp_path):
    folders = []
    for seed in ("1", "2"):
        tokenyard = [sys.executable, "-m", "simulator.cli.main"]
        command = [*tokenyard, "run", str(file), "--out", str(tmp_path / seed), "--no-report"]
        # Where the package is importable from here, it must be there, too.
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        folders.append(contents(tmp_path / seed / "small"))
    assert folders[0] == folders[1]


def test_all_runs_are_put_together_before_the_first_one_starts(file, tmp_path):
    file.write_text(EXPERIMENT.replace("other: {cluster.router: session_affinity}", "other: {model: llama-3.1-70b}"))
    events = []
    with pytest.raises(InputError, match=r"llama-3\.1-70b does not fit"):
        run_experiment(load_experiment(file), tmp_path / "out", progress=events.append)
    assert events == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("variants", "times"), [(1, 1), (2, 4)])
def test_a_run_alone_is_put_together_once(file, tmp_path, monkeypatch, variants, times):
    if variants == 1:
        file.write_text(EXPERIMENT.partition("compare:")[0])
    seen = []
    real = runner.assemble
    monkeypatch.setattr(runner, "assemble", lambda *words: seen.append(words) or real(*words))
    result = run_experiment(load_experiment(file, ["workload.requests=20"]), tmp_path)
    assert len(result.summary["runs"]) == variants
    assert len(seen) == times


def test_a_kind_that_does_not_fit_is_named(file, tmp_path):
    file.write_text(EXPERIMENT.replace("{hardware: h100_sxm}", "{hardware: h100_sxm, tensor_parallel: 3}"))
    with pytest.raises(InputError) as error:
        run_experiment(load_experiment(file), tmp_path / "out")
    assert error.value.where == "cluster.instances[1]"


class StopOnce:
    """A listener that interrupts, as Ctrl-C does, the first time so many requests of a run have ended."""

    def __init__(self, run, done):
        self.run, self.done, self.stopped = run, done, False
        self.events = []

    def __call__(self, event):
        self.events.append(event)
        if not self.stopped and event.run == self.run and event.done >= self.done:
            self.stopped = True
            raise KeyboardInterrupt


@pytest.mark.parametrize(("run", "finished_runs"), [("one", 0), ("other", 1)])
def test_an_interruption_keeps_what_is_finished_and_says_so(file, tmp_path, run, finished_runs):
    import pyarrow.parquet as pq

    listener = StopOnce(run, 1000)
    result = run_experiment(load_experiment(file), tmp_path / "out", progress=listener)
    assert result.interrupted
    assert [r.get("interrupted", False) for r in result.summary["runs"]] == [False] * finished_runs + [True]
    assert json.loads((result.folder / "summary.json").read_text()) == result.summary
    cut = result.summary["runs"][-1]
    assert 900 < cut["metrics"]["completed"] <= 1000
    requests = pq.read_table(result.folder / "requests.parquet").to_pylist()
    rows = [row for row in requests if row["run"] == run]
    assert sum(row["status"] == "completed" for row in rows) == cut["metrics"]["completed"]
    assert {row["status"] for row in rows} <= {"completed", "failed", "unfinished"}
    assert len([row for row in requests if row["run"] != run]) == 1300 * finished_runs
    assert not list(result.folder.glob(".*")), "nothing half written"


def test_progress_ends_with_every_request(file, tmp_path):
    events = []
    run_experiment(load_experiment(file), tmp_path / "out", progress=events.append)
    last = {event.run: event for event in events}
    assert [(event.index, event.count, event.done, event.total) for event in last.values()] == [
        (0, 2, 1300, 1300),
        (1, 2, 1300, 1300),
    ]
    for run in last:
        done = [event.done for event in events if event.run == run]
        seconds = [event.simulated_s for event in events if event.run == run]
        assert done == sorted(done)
        assert seconds == sorted(seconds)


def test_the_summary_describes_the_run(file, tmp_path):
    summary = run_experiment(load_experiment(file), tmp_path / "out").summary
    assert (summary["schema"], summary["experiment"]) == (1, "small")
    run = summary["runs"][0]
    assert run["cluster"]["instances"] == run["cluster"]["gpus"] == 3
    assert [(kind["hardware"], kind["count"]) for kind in run["cluster"]["kinds"]] == [("l40s", 2), ("h100_sxm", 1)]
    assert set(run["coverage"]) == {kind["name"] for kind in run["cluster"]["kinds"]}
    assert run["slo"]["ttft_ms"] == 500
    assert run["offered_rate"] == pytest.approx(40, rel=0.15)
    assert set(run["timing"]) == {"wall_s", "cpu_s", "requests_per_cpu_s", "events", "peak_memory_bytes"}
    assert run["metrics"]["completed"] + run["metrics"]["failed"] == 1300
    assert run["metrics"]["preemptions"] > 0, "the small caches are too small"


def test_runs_share_their_requests(file, tmp_path):
    import pyarrow.parquet as pq

    folder = run_experiment(load_experiment(file), tmp_path / "out").folder
    columns = ["run", "request", "arrival_s", "prompt_tokens", "output_tokens"]
    rows = pq.read_table(folder / "requests.parquet", columns=columns).to_pylist()
    runs = [[tuple(row.values())[1:] for row in rows if row["run"] == run] for run in ("one", "other")]
    assert runs[0] == runs[1]
