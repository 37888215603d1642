"""Faults and autoscaling as an experiment's YAML names them, and what the results say of them."""

import json
from pathlib import Path

import pytest

from simulator.core import InputError
from simulator.experiment.load import load_experiment
from simulator.experiment.runner import run_experiment

BASE = """\
workload:
  arrivals: {process: poisson, rate: 20/s}
  prompt: {distribution: uniform, min: 20, max: 500}
  output: {distribution: uniform, min: 50, max: 400}
  requests: 400
model: llama-3.1-8b
cluster:
  instances: [{count: 3, hardware: h100_sxm}]
"""
COMPARED = (
    BASE
    + """\
compare:
  sound: {}
  crash: {cluster.faults: {events: [{kind: crash, instance: 0, at: 5s, lasts: 2s}]}}
  lost: {cluster.faults: {in_flight: fail, events: [{kind: crash, instance: 0, at: 5s, lasts: 2s}]}}
  moved: {cluster.faults: {in_flight: migrate, events: [{kind: spot, instance: 0, at: 5s, grace: 5s, lasts: 2s}]}}
  random: {cluster.faults: {random: [{kind: link_loss, mtbf: 5s, lasts: 1s, instances: [0, 1]}]}}
  scaled: {cluster.autoscaling: {policy: queue, startup: 1s, calm: 5s}}
"""
)


def metrics(tmp_path: Path, text: str) -> dict:
    file = tmp_path / "fleet.yaml"
    file.write_text(text)
    run_experiment(load_experiment(file), tmp_path)
    runs = json.loads((tmp_path / "fleet" / "summary.json").read_text())["runs"]
    return {run["name"]: run["metrics"] for run in runs}


def test_every_request_is_accounted_for_and_gpus_are_paid_while_they_are_up(tmp_path):
    runs = metrics(tmp_path, COMPARED)
    assert all(each["completed"] + each["failed"] == 400 for each in runs.values())
    assert {name for name, each in runs.items() if each["failed"]} == {"lost"}
    sound, moved, scaled = runs["sound"], runs["moved"], runs["scaled"]
    assert sound["gpu_hours"] == pytest.approx(3 * sound["duration_s"] / 3600)
    assert runs["crash"]["gpu_hours"] == pytest.approx(3 * runs["crash"]["duration_s"] / 3600)
    assert moved["gpu_hours"] == pytest.approx((3 * moved["duration_s"] - 2) / 3600, rel=1e-2)
    assert moved["cost_usd"] / moved["gpu_hours"] == pytest.approx(sound["cost_usd"] / sound["gpu_hours"])
    assert scaled["gpu_hours"] < 3 * scaled["duration_s"] / 3600
    assert moved["migrations"] > 0 == runs["crash"]["migrations"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("faults: {events: [{kind: slow, instance: 0, at: 1s, factor: 2}]}", "needs 'lasts'"),
        ("faults: {events: [{kind: crash, instance: 3, at: 1s}]}", "there is no instance 3"),
        ("faults: {events: [{kind: crash, instance: 0, at: 1s, grace: 2s}]}", "'grace' belongs to spot"),
        ("autoscaling: {startup: 1s, max: 4}", "max 4 of 3 instances"),
        ("autoscaling: {startup: 1s, policy: {name: queue, most: 1}}", "no parameter 'most'"),
        ("autoscaling: {startup: 1s}\n  migration: {}", "come and go behind anything but a router"),
    ],
)
def test_mistakes_are_named_with_their_key(tmp_path, section, message):
    with pytest.raises(InputError, match=message):
        metrics(tmp_path, BASE + f"  {section}\n")
