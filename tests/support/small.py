"""The start of a small experiment in YAML: twenty short requests of an 8B model; instances are the test's to add."""

SMALL = """\
workload:
  arrivals: {process: poisson, rate: 5/s}
  prompt: {distribution: fixed, tokens: 100}
  output: {distribution: fixed, tokens: 10}
  requests: 20
model: llama-3.1-8b
cluster:
"""
