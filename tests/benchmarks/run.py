"""``make bench``: how fast the simulator is, as CPU seconds, counts and ratios within one run.

Machines are noisy, so every row also says how many times the cost of bare SimPy events (a process that yields timeouts,
measured around each row) it took; ratios compare across machines, seconds do not. The workload is the fitted Azure
conversation trace of 2023, on Llama 3.1 8B and H100s.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import simpy
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = ROOT / "experiments" / "azure_conv.yaml"
TRACE_REQUESTS = 19_366
TRACE_RATE = 5.53  # requests a second, mean over the trace's hour
# As after a first run: where Python is told to keep no bytecode, it would compile Tokenyard in each of these.
BYTECODE = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
_POOL = "{{count: 32, role: {}, hardware: h100_sxm, scheduler: vllm}}"


class Row(NamedTuple):
    """One measurement; ``bare`` is what the same number of bare SimPy events costs here and now, in CPU seconds."""

    name: str
    goal: str
    requests: int
    process_s: float
    loop_s: float
    events: int
    bare_s: float
    peak_mb: float


def bare_event_s(events: int = 200_000) -> float:
    """Return the CPU seconds of one event of a process that only sleeps."""

    def sleeper(env: simpy.Environment):
        for _ in range(events):
            yield env.timeout(1)

    env = simpy.Environment()
    env.process(sleeper(env))
    start = time.process_time()
    env.run()
    return (time.process_time() - start) / events


def measure(name: str, goal: str, *sets: str) -> Row:
    """Run the experiment as a user does, in a process of its own, with results but without the report."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "simulator.cli.main", "run", str(EXPERIMENT), "--no-report", "--json"]
        command += ["--out", folder, *(word for key in sets for word in ("--set", key))]
        bare = bare_event_s()
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env=BYTECODE)
        assert child.stdout is not None
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        bare = (bare + bare_event_s()) / 2
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    run = json.loads(output)["runs"][0]
    metrics, timing = run["metrics"], run["timing"]
    return Row(
        name,
        goal,
        metrics["completed"] + metrics["failed"],
        usage.ru_utime + usage.ru_stime,
        timing["cpu_s"],
        timing["events"],
        bare * timing["events"],
        usage.ru_maxrss / 1024,
    )


def rows(console: Console, real_trace: Path | None) -> list[Row]:
    """Measure everything, saying so as it goes."""
    trace = f"workload.trace={real_trace}" if real_trace else "workload.trace=azure_conv_2023"
    four_times = "workload.requests=77464"
    cases = [
        ("a  trace, 4 instances", "process < 1.5 s", trace),
        ("a4 4 x the trace, 4 instances", "process < 4 s", four_times),
        ("b  trace, 8 instances", "loop > 40,000 req/s", trace, "cluster.instances[0].count=8"),
        ("d  10,000 requests", "", "workload.requests=10000"),
        ("d  100,000 requests", "", "workload.requests=100000"),
        ("c  1,000,000 requests", "process < 40 s, 2 GB", "workload.requests=1000000"),
        ("e  trace, 1,024 instances", "loop < 1.5 x row b", trace, "cluster.instances[0].count=1024"),
        (
            "f  overload, 22 req/s, 1 instance",
            "loop <= row a",
            trace,
            f"workload.rate_scale={22 / TRACE_RATE:.4f}",
            "cluster.instances[0].count=1",
        ),
        (
            "g  20 x the rate, 32 prefill + 32 decode",
            "loop > 10,000 req/s",
            trace,
            "workload.rate_scale=20",
            f"cluster.instances=[{_POOL.format('prefill')}, {_POOL.format('decode')}]",
        ),
    ]
    measure("a first run", "", "workload.requests=10")
    measured = []
    for name, goal, *sets in cases:
        console.print(f"{name} ...", style="dim")
        measured.append(measure(name, goal, *sets))
    return measured


def table_of(measured: list[Row]) -> Table:
    """Return the rows as a table."""
    table = Table(title="Tokenyard benchmark (CPU seconds)")
    for heading in ("case", "goal"):
        table.add_column(heading, no_wrap=True)
    for heading in ("requests", "process s", "loop s", "req/s", "events", "SimPy us", "x SimPy", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in measured:
        table.add_row(
            row.name,
            row.goal,
            f"{row.requests:,}",
            f"{row.process_s:.2f}",
            f"{row.loop_s:.2f}",
            f"{row.requests / row.loop_s:,.0f}",
            f"{row.events / row.requests:.2f}",
            f"{row.bare_s / row.events * 1e6:.2f}",
            f"{row.loop_s / row.bare_s:.1f}",
            f"{row.peak_mb:.0f}",
        )
    table.caption = "process: the whole command; loop, req/s: the simulation alone; events: SimPy events a request;"
    table.caption += " SimPy us: what a bare SimPy event cost meanwhile;"
    table.caption += " x SimPy: loop over bare SimPy running that many events; MB: peak memory"
    return table


def verdicts(measured: list[Row]) -> list[str]:
    """Return what compares rows: growth, many instances, overload."""
    by_letter = {row.name.split()[0]: row for row in measured if not row.name.startswith("d")}
    small = next(row for row in measured if row.requests == 10_000)
    big = by_letter["c"]
    exponent = math.log(big.loop_s / small.loop_s) / math.log(big.requests / small.requests)

    def relative(letter: str, other: str) -> float:
        first, second = by_letter[letter], by_letter[other]
        per = [row.loop_s / row.requests / (row.bare_s / row.events) for row in (first, second)]
        return per[0] / per[1]

    return [
        f"(d) CPU time grows as requests ** {exponent:.3f} from 10,000 to 1,000,000 (goal: at most 1.1)",
        f"(e) CPU a request on 1,024 instances: {relative('e', 'b'):.2f} times that on 8 (goal: at most 1.5)",
        f"(f) CPU a request in overload: {relative('f', 'a'):.2f} times that of row a (goal: at most 1)",
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path, help="the real Azure conversation CSV instead of the fitted one")
    arguments = parser.parse_args()
    console = Console(width=150)
    measured = rows(Console(stderr=True), arguments.trace and arguments.trace.resolve())
    console.print(table_of(measured))
    for line in verdicts(measured):
        console.print(line)


if __name__ == "__main__":
    main()
