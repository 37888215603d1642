"""The requests that fared worst, and where their time went."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulator.report.breakdown import phases_of, read_phases
from simulator.report.results import Run, RunTables

MOST = 10
_FACTS = ("request", "instance", "prompt_tokens", "output_tokens", "preemptions", "ttft_ms", "tpot_ms", "e2el_ms")


@dataclass(frozen=True)
class WorstRequest:
    """One completed request: how many times its worst latency is over its limit, its facts and seconds by phase.

    ``over`` is NaN without an SLO. ``facts`` holds the columns of ``requests.parquet``, NaN where one is null.
    """

    request: int
    over: float
    facts: Mapping[str, float]
    phases_s: Mapping[str, float]


@dataclass(frozen=True)
class Worst:
    """A run's worst completed requests, worst first, and why others failed: the reason and how many."""

    run: Run
    requests: tuple[WorstRequest, ...]
    failures: Mapping[str, int]


def worst_of(tables: RunTables) -> Worst:
    """Return the completed requests that missed the SLO by the largest factor; without an SLO, the slowest."""
    run = tables.run
    columns = read_phases(tables, _FACTS)
    phases = phases_of(columns)
    over = np.full(len(columns["completed"]), np.nan)
    for key, limit in run.slo_ms.items():
        over = np.fmax(over, columns[f"{key}_ms"] / limit)
    badness = over if run.slo_ms else columns["e2el_ms"]
    done = np.flatnonzero(columns["completed"] & ~np.isnan(badness))
    order = done[np.argsort(-badness[done], kind="stable")[:MOST]]
    requests = tuple(
        WorstRequest(
            int(columns["request"][row]),
            float(over[row]),
            {name: float(columns[name][row]) for name in (*_FACTS, "arrival_s")},
            {phase: float(seconds[row]) for phase, seconds in phases.items()},
        )
        for row in order
    )
    return Worst(run, requests, tables.failures() if run.metric("failed") > 0 else {})
