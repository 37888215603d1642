"""Memory policies and shared reads as an experiment's YAML names them, and what they change."""

import json

from simulator.experiment.load import load_experiment
from simulator.experiment.runner import run_experiment

TIGHT = """\
workload:
  arrivals: {process: poisson, rate: 12/s}
  prompt: {distribution: uniform, min: 20, max: 300}
  output: {distribution: uniform, min: 1, max: 300}
  requests: 300
model: llama-3.1-8b
cluster:
  instances: [{hardware: l40s, kv_blocks: 1000}]
compare:
  maximum: {"cluster.instances[0].scheduler": {name: orca, reserve: max, max_len: 4096}}
  buddy: {"cluster.instances[0].scheduler": {name: orca, reserve: pow2, max_len: 4096, contiguous: true}}
  power of two: {"cluster.instances[0].scheduler": {name: orca, reserve: pow2, max_len: 4096}}
  oracle: {"cluster.instances[0].scheduler": {name: orca, reserve: oracle, max_len: 4096}}
  paged: {"cluster.instances[0].scheduler": {name: vllm_v0, max_num_batched_tokens: 4096}}
  tokens:
    cluster.instances[0].scheduler: {name: vllm_v0, max_num_batched_tokens: 4096}
    cluster.instances[0].block_size: 1
    cluster.instances[0].kv_blocks: 16000
"""

SHARED = """\
workload:
  arrivals: {process: poisson, rate: 20/s}
  prompt: {distribution: uniform, min: 100, max: 200}
  output: {distribution: uniform, min: 50, max: 300}
  requests: 200
  prefix: {groups: 1, tokens: 6000}
model: llama-3.1-8b
cluster:
  instances: [{hardware: h100_sxm}]
compare:
  each: {}
  once: {"cluster.instances[0].shared_prefix_reads": once}
  apart: {"cluster.instances[0].prefix_caching": false, "cluster.instances[0].shared_prefix_reads": once}
  apart, each: {"cluster.instances[0].prefix_caching": false}
"""


def metrics(text, tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text(text)
    folder = run_experiment(load_experiment(file), tmp_path).folder
    summary = json.loads((folder / "summary.json").read_text())
    return {run["name"]: run["metrics"] for run in summary["runs"]}


def test_the_less_is_reserved_the_sooner_requests_start(tmp_path):
    found = metrics(TIGHT, tmp_path)
    assert all(each["completed"] == 300 for each in found.values())
    ttft = {name: each["mean_ttft_ms"] for name, each in found.items()}
    assert ttft["maximum"] > ttft["buddy"] > ttft["power of two"] > ttft["oracle"] > ttft["paged"]
    # Blocks of 16 waste half a block a request, blocks of one token nothing.
    assert ttft["tokens"] <= ttft["paged"]


def test_a_shared_prefix_read_once_makes_decodes_faster(tmp_path):
    found = metrics(SHARED, tmp_path)
    assert found["once"]["mean_tpot_ms"] < 0.8 * found["each"]["mean_tpot_ms"]
    # Nothing is shared without prefix caching, so there is nothing to read once.
    assert found["apart"] == found["apart, each"]
