"""A small plan: 60 requests a second on GPUs of two kinds, seconds of simulation in all."""

import pytest

PLAN = """\
workload:
  arrivals: {process: poisson, rate: 60/s}
  prompt: {distribution: uniform, min: 100, max: 1500}
  output: {distribution: uniform, min: 10, max: 150}
  requests: 700
model: llama-3.1-8b
cluster:
  instances: [{hardware: h100_sxm}]
slo: {ttft: {p99: 200ms}, tpot: {p99: 25ms}}
objective: cost
budget: {gpus: 12}
space:
  hardware: [h100_sxm, l40s]
  router: [least_outstanding, random]
search: {probe: 300, finalists: 4}
"""


@pytest.fixture(scope="session")
def plan_text():
    return PLAN


@pytest.fixture
def file(tmp_path, plan_text):
    file = tmp_path / "small.yaml"
    file.write_text(plan_text)
    return file
