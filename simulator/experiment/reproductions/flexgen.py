"""FlexGen's throughput of OPT models on one T4, with weights and KV in the host's memory or on disk."""

from pathlib import Path
from typing import Any

from simulator.cluster.cluster import Cluster
from simulator.core import PS_PER_S, InputError, Streams
from simulator.experiment.assemble import assemble
from simulator.experiment.load import load_mapping
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.techniques.stack import workload_of
from simulator.workload.section import Count, Section


class Case(Section):
    """One row of the table: a model, the batch it runs in, and the placement."""

    model: str
    batch: Count
    offloading: dict[str, Any]
    on_disk: bool = False


class FlexGenSetup(Setup):
    """What ``flexgen.yaml`` has beside what every reproduction has: ``shared`` of all cases, ``disk`` of some."""

    prompt: Count
    output: Count
    shared: dict[str, Any]
    disk: dict[str, Any]
    cases: dict[str, Case]


@reproduction("flexgen", FlexGenSetup)
def reproduce(setup: FlexGenSetup, runner: Runner) -> Outcome:
    """Run every case as one batch."""
    tasks = []
    for case in setup.cases.values():
        offloading = {"name": "offloading", **setup.shared, **(setup.disk if case.on_disk else {}), **case.offloading}
        batch = min(case.batch, setup.requests)
        tasks.append((case.model, [offloading], batch, setup.prompt, setup.output))
    found = dict(zip(setup.cases, runner.map(tokens_per_s, tasks), strict=True))
    rows = dict(found)
    rows["gain_30b"] = found["opt_30b"] / found["zero_30b"]
    rows["gain_175b"] = found["opt_175b"] / found["zero_175b"]
    rows["compressed_175b"] = found["opt_175b_compressed"] / found["opt_175b"]
    names = list(found)
    paper = [setup.targets[name].paper or 0.0 for name in names]
    bars = [_label(name) for name in names]
    figure = Figure(
        "OPT on one T4 with offloading",
        [
            Panel(
                "Throughput",
                "",
                "tokens/s",
                [Series("Tokenyard", bars, list(found.values())), Series("paper", bars, paper, paper=True)],
                log_y=True,
            )
        ],
    )
    notes = [
        "Compressed rows come out faster than published. Unpacking is counted as bytes at the bandwidth of a copy, "
        "which operations over every other byte may not reach; the host's copies into pinned memory are not counted; "
        "and products of decodes take as long as reading the weights, while FlexGen's fit has 4.3 TFLOP/s for them."
    ]
    return Outcome({name: Row([value]) for name, value in rows.items()}, figure, notes)


def _label(name: str) -> str:
    """Return what stands under a system's bar, in two short lines: its model, and what is done with it."""
    system, size, *how = name.split("_")
    return f"OPT-{size.upper()}\n{'ZeRO' if system == 'zero' else 'in 4 bits' if how else 'FlexGen'}"


def tokens_per_s(model: str, techniques: list[dict[str, Any]], batch: int, prompt: int, output: int) -> float:
    """Return output tokens a second of one batch, prompts included, on a T4."""
    values = {
        "workload": {
            "arrivals": {"process": "closed_loop", "concurrency": batch},
            "prompt": {"distribution": "fixed", "tokens": prompt},
            "output": {"distribution": "fixed", "tokens": output},
            "requests": batch,
        },
        "model": model,
        "cluster": {
            "instances": [
                {
                    "hardware": "t4",
                    # The policies put everything where it fits; that it does is FlexGen's to see to.
                    "kv_blocks": batch * -(-(prompt + output) // 16),
                    "block_size": 16,
                    "engine": {"server": False},
                    "scheduler": {
                        "name": "prefill_first",
                        "max_num_seqs": batch,
                        "max_num_batched_tokens": batch * prompt,
                    },
                }
            ]
        },
        "techniques": techniques,
    }
    config = load_mapping(values, Path()).runs[0].config
    workload = workload_of(config, Path())
    assembly = assemble(config, workload)
    cluster = Cluster(assembly.servers, assembly.router, workload, Streams(0).get("router"))
    cluster.run()
    if any(request.failure is not None or request.finished_at < 0 for request in cluster.requests):
        raise InputError(f"{model} did not serve all of {batch} requests")
    return batch * output / (max(request.finished_at for request in cluster.requests) / PS_PER_S)
