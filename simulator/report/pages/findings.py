"""Everything a page shows of some runs, read and reduced once: one run's tables in memory at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.report import attainment, breakdown, latency, style
from simulator.report.attainment import Attainment
from simulator.report.breakdown import TimeSpent
from simulator.report.latency import Latency
from simulator.report.results import Run, RunTables
from simulator.report.timeline import Timeline, timeline_of
from simulator.report.worst import Worst, worst_of

MOST_TIMELINES = 6


@dataclass(frozen=True)
class Findings:
    """Runs reduced for drawing. ``timelines`` and ``worst`` hold at most six runs, see ``looked_at``."""

    runs: tuple[Run, ...]
    latencies: tuple[Latency, ...]
    spent: tuple[TimeSpent, ...]
    attainments: tuple[Attainment, ...]
    timelines: tuple[Timeline, ...]
    worst: tuple[Worst, ...]


def findings_of(tables: Sequence[RunTables]) -> Findings:
    """Read every run's tables and reduce them."""
    latencies, spent, attainments = [], [], []
    for each in tables:
        requests = breakdown.read_phases(each, (*latency.COLUMNS, *attainment.COLUMNS))
        latencies.append(latency.latency_of(each.run, requests, each.iterations(latency.ITERATION_COLUMNS)))
        spent.append(breakdown.time_spent(each.run, requests))
        attainments.append(attainment.attainment_of(each.run, requests))
    close = looked_at(tables)
    return Findings(
        runs=tuple(each.run for each in tables),
        latencies=tuple(latencies),
        spent=tuple(spent),
        attainments=tuple(each for each in attainments if each is not None),
        timelines=tuple(found for each in close if (found := timeline_of(each)) is not None),
        worst=tuple(map(worst_of, close)),
    )


def looked_at(tables: Sequence[RunTables]) -> list[RunTables]:
    """Return all runs, or when there are too many to look at, the most loaded one of each of the best groups."""
    if len(tables) <= MOST_TIMELINES:
        return list(tables)
    best = style.best_first([each.run for each in tables])[:MOST_TIMELINES]
    ordered = sorted(tables, key=lambda each: float(np.nan_to_num(each.run.offered_rate)))
    last = {each.run.group: each for each in ordered}
    return [each for each in tables if each.run.group in best and each is last[each.run.group]]
