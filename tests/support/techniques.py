"""Experiments with techniques as tests write them: a few requests on a few GPUs, fast or with exact steps."""

from functools import cache
from pathlib import Path
from typing import Any

from simulator.cluster.cluster import Cluster
from simulator.core import Request, Streams
from simulator.core.data import data_dir
from simulator.experiment.assemble import Assembly, assemble
from simulator.experiment.load import load_experiment, load_mapping
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.stack import workload_of

MIXED = [{"hardware": "h100_sxm"}]
SPLIT = [{"hardware": "h100_sxm", "role": "prefill"}, {"hardware": "h100_sxm", "role": "decode"}]


def experiment(techniques: list[Any], **changes: Any) -> Experiment:
    """Return an experiment of 40 requests at 20/s on an H100; ``changes`` replace keys, ``instances`` among them."""
    values = {
        "seed": 3,
        "workload": {
            "arrivals": {"process": "poisson", "rate": "20/s"},
            "prompt": {"distribution": "lognormal", "median": 600, "sigma": 1.0, "max": 6000},
            "output": {"distribution": "uniform", "min": 1, "max": 120},
            "requests": 40,
        },
        "model": "llama-3.1-8b",
        "cluster": {"instances": changes.pop("instances", MIXED)},
        "techniques": techniques,
    }
    return load_mapping({**values, **changes}, Path()).runs[0].config


def assembled(techniques: list[Any], **changes: Any) -> Assembly:
    """Return the servers and the router of an experiment."""
    config = experiment(techniques, **changes)
    return assemble(config, workload_of(config, Path()))


def simulated(config: Experiment, *, exact_steps: bool = False) -> list[Request]:
    """Return the requests of an experiment after its run."""
    workload = workload_of(config, Path())
    assembly = assemble(config, workload)
    rng = Streams(config.seed).get("router")
    cluster = Cluster(assembly.servers, assembly.router, workload, rng, exact_steps=exact_steps)
    cluster.run()
    return cluster.requests


def times(requests: list[Request]) -> list[tuple[int, ...]]:
    """Return when each request arrived, made its first token and finished, and what it was."""
    return [
        (r.arrival, r.first_token_at, r.finished_at, r.prompt_tokens, r.output_tokens, r.preemptions) for r in requests
    ]


@cache
def examples() -> dict[str, Any]:
    """Return by name a technique as the shipped experiments use it first."""
    found: dict[str, Any] = {}
    for path in sorted((data_dir("experiments") / "techniques").glob("*.yaml")):
        for run in load_experiment(path).runs:
            for choice in run.config.techniques:
                found.setdefault(choice.name, choice.as_yaml())
    return found
