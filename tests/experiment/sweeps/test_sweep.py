"""A sweep gives the same bytes whoever runs it, keeps what is done, and runs only what is missing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from simulator.core import InputError
from simulator.experiment.load import load_experiment
from simulator.experiment.sweeps import content_key
from simulator.experiment.sweeps import sweep as sweep_module
from simulator.experiment.sweeps.sweep import Sweep
from simulator.experiment.sweeps.workers import Workers

EXPERIMENT = """\
name: forty
workload:
  arrivals: {process: poisson, rate: 20/s}
  prompt: {distribution: uniform, min: 20, max: 900}
  output: {distribution: uniform, min: 1, max: 60}
  requests: REQUESTS
model: llama-3.1-8b
cluster: {instances: [{count: 2, hardware: h100_sxm}]}
slo: {ttft: 500ms, tpot: 50ms}
compare: {a: {}, b: {cluster.router: power_of_two}}
sweep:
  workload.arrivals.rate: [20/s, 40/s, 60/s, 80/s]
  seeds: 5
"""


def write(folder, requests=60):
    file = folder / "forty.yaml"
    file.write_text(EXPERIMENT.replace("REQUESTS", str(requests)))
    return file


@pytest.fixture(scope="module", autouse=True)
def unchanging_code():
    """Keep keys the same while somebody edits the simulator; what a change does to them has its own test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content_key, "_code", lambda: ())
        yield


@pytest.fixture(scope="module")
def forty(tmp_path_factory):
    """Return the experiment's file and the contents of its results, run in this process."""
    folder = tmp_path_factory.mktemp("forty")
    file = write(folder)
    result = Sweep(load_experiment(file), folder / "out").run(Workers(jobs=1))
    return file, contents(result.folder)


def contents(folder):
    """Return the bytes of everything in a results folder that must not differ between repeats, by path.

    A point's folder is called as its run is: its key also tells which code made it.
    """
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    summary = json.loads(files["summary.json"])
    names = {run["folder"]: run["name"] for run in summary["runs"]}
    for name in files:
        if name.endswith("summary.json"):
            said = json.loads(files[name])
            said["runs"] = [{key: run[key] for key in run if key not in ("timing", "folder")} for run in said["runs"]]
            files[name] = json.dumps(said).encode()
    return {renamed(name, names): content for name, content in files.items()}


def renamed(path, names):
    folder, _, file = path.rpartition("/")
    return f"{names[folder]}/{file}" if folder else file


def test_the_layout_is_points_and_their_merger(forty):
    import pyarrow.parquet as pq

    file, files = forty
    out = file.parent / "out/forty"
    whole = {"config.resolved.yaml", "summary.json", "summary.csv", "requests.parquet", "iterations.parquet",
             "spans.parquet"}  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert len(summary["runs"]) == 40
    assert set(files) == whole | {f"{run['name']}/{name}" for run in summary["runs"] for name in whole}
    rows = pq.read_table(out / "requests.parquet")
    assert rows.num_rows == 40 * 60
    assert list(dict.fromkeys(rows["run"].to_pylist())) == [run["name"] for run in summary["runs"]]
    some = summary["runs"][7]
    alone = pq.read_table(out / some["folder"] / "requests.parquet")
    assert alone.equals(pq.read_table(out / "requests.parquet", filters=[("run", "==", some["name"])]))
    assert len(files["summary.csv"].decode().splitlines()) == 41
    assert len(summary["comparison"]["points"]) == 8


def test_a_seed_gives_all_variants_the_same_requests(forty):
    import pyarrow.parquet as pq

    file, _ = forty
    columns = ["run", "request", "arrival_s", "prompt_tokens", "output_tokens"]
    table = pq.read_table(file.parent / "out/forty/requests.parquet", columns=columns)
    sent = {}
    for run, *rest in zip(*(table[name].to_pylist() for name in columns), strict=True):
        sent.setdefault(run, []).append(rest)
    assert sent["a rate=20/s seed=1"] == sent["b rate=20/s seed=1"]
    assert sent["a rate=20/s seed=1"] != sent["a rate=20/s seed=2"]
    lengths = [[row[2:] for row in sent[f"a rate={rate}/s seed=1"]] for rate in (20, 80)]
    assert lengths[0] == lengths[1], "another rate draws the same lengths"


def test_processes_give_the_same_bytes(forty, tmp_path):
    file, files = forty
    result = Sweep(load_experiment(file), tmp_path).run(Workers(jobs=2))
    assert contents(result.folder) == files


def test_a_dask_cluster_gives_the_same_bytes(forty, tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs tokenyard[dask]")
    file, files = forty
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        workers = Workers.parse(f"dask:{cluster.scheduler_address}")
        result = Sweep(load_experiment(file), tmp_path).run(workers)
    assert contents(result.folder) == files


def test_a_ray_cluster_gives_the_same_bytes(forty, tmp_path):
    pytest.importorskip("ray", reason="needs tokenyard[ray]")
    file, files = forty
    result = Sweep(load_experiment(file), tmp_path).run(Workers.parse("ray", jobs=2))
    assert contents(result.folder) == files


def test_what_is_done_is_not_run_again(forty, tmp_path, monkeypatch):
    file, files = forty
    shutil.copytree(file.parent / "out/forty", tmp_path / "forty")
    sweep = Sweep(load_experiment(file), tmp_path)
    gone = list(sweep.keys)[5:8]
    for key in gone:
        shutil.rmtree(sweep.store.path(key))
    ran = []
    run_point = sweep_module.run_point
    monkeypatch.setattr(sweep_module, "run_point", lambda task: ran.append(task.key) or run_point(task))
    heard = []
    result = sweep.run(Workers(jobs=1), lambda done, count: heard.append((done, count)))
    assert ran == gone
    assert heard == [(37, 40), (38, 40), (39, 40), (40, 40)]
    assert contents(result.folder) == files
    ran.clear()
    Sweep(load_experiment(file), tmp_path, force=True).run(Workers(jobs=1))
    assert len(ran) == 40
    assert contents(result.folder) == files


def test_more_points_keep_those_that_are_done(forty, tmp_path):
    file, _ = forty
    shutil.copytree(file.parent / "out/forty", tmp_path / "forty")
    assert not Sweep(load_experiment(file), tmp_path).missing()
    more = Sweep(load_experiment(file, ["sweep.seeds=6"]), tmp_path)
    assert [run.config.seed for run in more.missing().values()] == [5] * 8
    other = Sweep(load_experiment(file, ["slo.ttft=1s"]), tmp_path)
    assert len(other.missing()) == 40


def test_killed_anywhere_it_goes_on_with_what_is_missing(tmp_path):
    file = write(tmp_path, requests=400)
    file.write_text(file.read_text().replace("seeds: 5", "seeds: 2"))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "simulator.cli.main", "run", str(file), "--out", str(out), "--no-report"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # Its own process group, so that the kill takes the workers along as a lost machine would.
    running = subprocess.Popen(
        [*command, "--jobs", "2"], env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    points = out / "forty/points"
    until = time.monotonic() + 60
    while len(finished(points)) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    kept = finished(points)
    assert 4 <= len(kept) < 16, "killed in the middle"
    assert not (out / "forty/summary.json").exists()
    for point in kept:
        assert {"summary.json", "requests.parquet"} <= {path.name for path in point.iterdir()}, "whole or not at all"
    stamps = {point: (point / "summary.json").stat().st_mtime_ns for point in kept}

    again = subprocess.run([*command, "--jobs", "2"], env=environment, capture_output=True, text=True, check=True)
    assert f"{len(kept)} of 16 points done" in again.stderr
    assert {point: (point / "summary.json").stat().st_mtime_ns for point in kept} == stamps
    assert len(finished(points)) == 16
    assert len(json.loads((out / "forty/summary.json").read_text())["runs"]) == 16
    assert not list(points.glob(".*")), "what was half written is gone"
    undisturbed = Sweep(load_experiment(file), tmp_path / "undisturbed").run(Workers(jobs=2))
    assert contents(out / "forty") == contents(undisturbed.folder)


def finished(points):
    return [path for path in points.glob("*") if not path.name.startswith(".")]


def test_a_mistake_in_the_last_point_costs_nothing(tmp_path):
    file = write(tmp_path)
    sets = ["sweep.model=[llama-3.1-8b, llama-3.1-70b]"]
    with pytest.raises(InputError, match=r"llama-3\.1-70b does not fit"):
        Sweep(load_experiment(file, sets), tmp_path / "out").run(Workers(jobs=1))
    assert not (tmp_path / "out").exists()


def test_an_interruption_keeps_the_points_that_are_done(tmp_path):
    def stop(done, count):
        if done == 3:
            raise KeyboardInterrupt

    result = Sweep(load_experiment(write(tmp_path)), tmp_path / "out").run(Workers(jobs=1), stop)
    assert result.interrupted
    assert len(result.summary["runs"]) == 3
    assert json.loads((result.folder / "summary.json").read_text()) == result.summary


def test_an_interruption_before_any_point_goes_through(tmp_path):
    def stop(done, count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Sweep(load_experiment(write(tmp_path)), tmp_path / "out").run(Workers(jobs=1), stop)
