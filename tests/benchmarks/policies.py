"""CPU per request of every policy relative to ``vllm``, measured in turns: ``python -m tests.benchmarks.policies``.

The fitted Azure conversation trace on four H100s, as it came and at four times its rate on one. Past saturation a
preemptive policy decides more often than vLLM, which only waits then: whom to run changes with every arrival (all of
them), with what was served (``mlfq``, ``skip_join_mlfq``, ``edf``) or with each look at what is left (``trail``).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from simulator.scheduling.registry import SCHEDULERS
from tests.benchmarks.run import EXPERIMENT, ROOT

GOAL = 3.0
WORLDS = {
    "as it came": (),
    "4 x, one GPU": ("workload.rate_scale=4", "cluster.instances[0].count=1"),
}


class Row(NamedTuple):
    """A policy's CPU per request over that of ``vllm``, by world."""

    policy: str
    ratios: list[float]


def cpu_per_request(policy: str, requests: int, sets: tuple[str, ...]) -> float:
    """Return CPU seconds a request of the simulation loop alone; NaN where the policy serves nobody here."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "simulator.cli.main", "run", str(EXPERIMENT), "--no-report", "--json"]
        command += ["--out", folder]
        for key in (f"workload.requests={requests}", f"cluster.instances[0].scheduler={policy}", *sets):
            command += ["--set", key]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    served = json.loads(done.stdout)["runs"][0]["timing"]["requests_per_cpu_s"]
    return 1 / served if served else float("nan")


def relative(policy: str, requests: int, sets: tuple[str, ...], rounds: int) -> float:
    """Return the median over rounds of a policy's CPU per request over that of ``vllm`` just before it."""
    ratios = []
    for _ in range(rounds):
        base = cpu_per_request("vllm", requests, sets)
        ratios.append(cpu_per_request(policy, requests, sets) / base)
    return median(ratios)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policies", nargs="*", help="all of them without")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=1, help="of each, the median counts")
    arguments = parser.parse_args()
    console = Console(width=110)
    rows = []
    for policy in arguments.policies or SCHEDULERS.names():
        ratios = [relative(policy, arguments.requests, sets, arguments.rounds) for sets in WORLDS.values()]
        rows.append(Row(policy, ratios))
        Console(stderr=True).print(f"{policy}: {', '.join(f'{ratio:.2f}' for ratio in ratios)}", style="dim")
    table = Table(title=f"CPU per request over that of vllm (goal: at most {GOAL:g} on the trace as it came)")
    table.add_column("policy")
    for world in WORLDS:
        table.add_column(world, justify="right")
    table.add_column("goal")
    for row in sorted(rows, key=lambda row: row.ratios[0]):
        table.add_row(row.policy, *(f"{ratio:.2f}" for ratio in row.ratios), "yes" if row.ratios[0] <= GOAL else "NO")
    console.print(table)


if __name__ == "__main__":
    main()
