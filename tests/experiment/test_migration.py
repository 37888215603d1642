"""``cluster.migration`` and ``cluster.borrowing`` from the YAML to the results."""

import json

import pandas as pd
import pytest

from simulator.core import InputError
from simulator.experiment.load import load_experiment
from simulator.experiment.runner import run_experiment

YAML = """
name: moving
seed: 3
workload:
  arrivals: {process: poisson, rate: 60/s}
  prompt: {distribution: lognormal, median: 300, sigma: 1, max: 3000}
  output: {distribution: lognormal, median: 150, sigma: 1, max: 1000}
  requests: 300
model: llama-3.1-8b
cluster:
  instances: [{count: 3, hardware: h100_sxm, kv_blocks: 600}]
  router: freeness
"""


def run(tmp_path, more="", **options):
    file = tmp_path / "moving.yaml"
    file.write_text(YAML + more)
    result = run_experiment(load_experiment(file), tmp_path, **options)
    return result.summary["runs"], result.folder


def test_migrations_are_counted_and_written_one_row_each(tmp_path):
    runs, folder = run(tmp_path, "  migration: {threshold: 10}\n")
    (metrics,) = (each["metrics"] for each in runs)
    moves = pd.read_parquet(folder / "moves.parquet")
    assert metrics["migrations"] == len(moves) > 10
    assert metrics["completed"] == 300 and metrics["kv_transfers"] == 0
    assert set(moves["kind"]) == {"migration"}
    assert (moves["asked_s"] <= moves["started_s"]).all()
    assert (moves["started_s"] + moves["stopped_s"] <= moves["ended_s"] + 1e-12).all()
    assert (moves["bytes"] % (128 * 1024) == 0).all(), "KV of Llama 3.1 8B is 128 KiB a token"
    placed = pd.read_parquet(folder / "requests.parquet").set_index("request")["instance"]
    last = moves.sort_values("ended_s").groupby("request")["target"].last()
    assert (placed[last.index] == last).all(), "a request's instance is where it ended"


def test_without_migration_nothing_moves_and_there_is_no_file(tmp_path):
    runs, folder = run(tmp_path)
    assert runs[0]["metrics"]["migrations"] == 0
    assert not (folder / "moves.parquet").exists()


def test_exact_steps_give_the_same_moves(tmp_path):
    for name, exact in (("fast", False), ("exact", True)):
        (tmp_path / name).mkdir()
        run(tmp_path / name, "  migration: {threshold: 10}\n", exact_steps=exact)
    fast, exact = (tmp_path / name / "moving" for name in ("fast", "exact"))
    assert (fast / "moves.parquet").read_bytes() == (exact / "moves.parquet").read_bytes()
    one, other = (json.loads((each / "summary.json").read_text())["runs"][0]["metrics"] for each in (fast, exact))
    energy = {"energy_j", "joules_per_output_token"}  # summed run by run, in floating point
    assert {key: one[key] for key in one.keys() - energy} == {key: other[key] for key in other.keys() - energy}


def test_a_request_larger_than_an_instance_runs_on_borrowed_memory(tmp_path):
    alone, _ = run(tmp_path, "compare: {small: {'cluster.instances[*].kv_blocks': 150}}\n")
    together, _ = run(
        tmp_path,
        "compare: {small: {'cluster.instances[*].kv_blocks': 150, cluster.borrowing: {keep: 0, spare: 0}}}\n",
    )
    assert alone[0]["metrics"]["failed"] > together[0]["metrics"]["failed"] == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("  migration: {}\ncompare: {a: {'cluster.instances[*].scheduler': sarathi}}\n", "cannot go on with requests"),
        (
            "  migration: {}\ncompare: {a: {'cluster.instances[0].role': prefill}}\n",
            "between instances with roles|role",
        ),
        ("  migration: {}\n  borrowing: {}\n", "at once"),
        ("  migration: {headroom: 100}\n", "headroom"),
        ("  migration: {threshold: .inf}\n", "threshold"),
        ("  migration: {period: 0s}\n", "period"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, more, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, more)
