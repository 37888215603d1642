"""Spot nodes as an experiment's YAML names them, and what the results say of them."""

import json
from pathlib import Path

import pytest

from simulator.core import InputError
from simulator.experiment.load import load_experiment
from simulator.experiment.runner import run_experiment

BASE = """\
workload:
  arrivals: {process: poisson, rate: 4/s}
  prompt: {distribution: fixed, tokens: 512}
  output: {distribution: uniform, min: 50, max: 200}
  requests: 150
model: llama-3.1-8b
cluster:
  instances: [{count: 3, hardware: a100_sxm, scheduler: whole_batches, max_model_len: 2048, price: 2 USD/h}]
  links: {gpus_per_node: 2, between_nodes: 5GB/s}
  spot:
    nodes: 2
    grace: 5s
    shapes: [[1, 2], [1, 4], [2, 2]]
    storage: 2GB/s
    rate: 4/s
"""
CHANGES = "    changes: [{at: 5s, leave: 1}, {at: 20s, come: 1}]\n"
COMPARED = (
    BASE
    + CHANGES
    + """\
compare:
  spotserve: {}
  reparallelization: {cluster.spot.system: reparallelization}
  rerouting: {cluster.spot.system: rerouting}
"""
)


def runs_of(tmp_path: Path, text: str) -> dict:
    file = tmp_path / "spot.yaml"
    file.write_text(text)
    run_experiment(load_experiment(file), tmp_path)
    runs = json.loads((tmp_path / "spot" / "summary.json").read_text())["runs"]
    return {run["name"]: run for run in runs}


def test_the_three_systems_serve_everything_and_nodes_are_paid_while_they_are_there(tmp_path):
    runs = runs_of(tmp_path, COMPARED)
    metrics = {name: run["metrics"] for name, run in runs.items()}
    assert all(each["completed"] == 150 for each in metrics.values())
    assert metrics["spotserve"]["migrations"] > 0
    assert metrics["reparallelization"]["migrations"] == metrics["rerouting"]["migrations"] == 0
    assert metrics["spotserve"]["p99_e2el_ms"] < metrics["reparallelization"]["p99_e2el_ms"]
    for name, each in metrics.items():
        # Two nodes of two GPUs, but for the 10 s in which there was one; arrivals begin within a second.
        assert each["gpu_hours"] * 3600 == pytest.approx(4 * each["duration_s"] - 2 * 10, abs=4)
        assert each["cost_usd"] == pytest.approx(2 * each["gpu_hours"])
        assert each["energy_j"] is None
        assert runs[name]["cluster"]["gpus"] == 4
        assert [kind["pipeline_parallel"] for kind in runs[name]["cluster"]["kinds"]] == [1, 1, 2]


@pytest.mark.parametrize(
    ("old", "new", "message", "where"),
    [
        ("at: 5s, leave: 1", "at: 5s, leave: 3", "3 nodes leave of 2", "changes"),
        ("at: 5s, leave: 1", "at: 5s, leave: 1, come: 1", "either 'leave' or 'come'", "changes"),
        ("at: 20s, come: 1", "at: 2s, come: 1", "changes must be in time", "changes"),
        ("whole_batches", "sarathi", "cannot go on with requests that moved", "scheduler"),
        ("hardware: a100_sxm", "hardware: rtx_4090", "nodes without links", "between_nodes"),
        ("  spot:", "  migration: {}\n  spot:", "migration on spot nodes", "migration"),
        ("instances: [", "instances: [{hardware: a100_sxm}, ", "spot nodes of several kinds", "instances"),
    ],
)
def test_mistakes_are_named_with_their_key(tmp_path, old, new, message, where):
    text = (BASE + CHANGES).replace(old, new)
    if where == "between_nodes":
        text = text.replace(", between_nodes: 5GB/s", "").replace("[1, 2], [1, 4], [2, 2]", "[1, 1]")
    assert text != BASE + CHANGES
    with pytest.raises(InputError, match=message) as caught:
        runs_of(tmp_path, text)
    assert where in (caught.value.where or "") + str(caught.value)
