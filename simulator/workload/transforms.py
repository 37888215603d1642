"""What can be done to any workload: faster, shorter, thinner."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import InputError
from simulator.core.units import MAX_PS, PS_PER_S, to_ps
from simulator.workload.clock import LONGEST_DAYS, LONGEST_PS
from simulator.workload.table import Int, PrefixTable, Workload


def scale_rate(workload: Workload, factor: float) -> Workload:
    """Return the workload with arrivals ``factor`` times as fast; lengths and order stay."""
    arrival = np.rint(workload.arrival_ps / factor)
    if len(arrival) and arrival[-1] > LONGEST_PS:
        raise InputError(
            f"a rate_scale of {factor} makes more than {LONGEST_DAYS} days of it", where="workload.rate_scale"
        )
    return replace(workload, arrival_ps=arrival.astype(np.int64))


def keep_before(workload: Workload, seconds: float) -> Workload:
    """Return the requests that arrive before a time; the others go."""
    # Longer than the clock spans keeps everything.
    end = min(to_ps(seconds), MAX_PS)
    return workload.take(_first(int(np.searchsorted(workload.arrival_ps, end, side="left"))))


def keep_first(workload: Workload, count: int) -> Workload:
    """Return at most the first ``count`` requests."""
    return workload.take(_first(min(count, len(workload))))


def keep_sample(workload: Workload, fraction: float, rng: np.random.Generator) -> Workload:
    """Return each request with a probability, at its time: the rate falls by the same fraction."""
    return workload.take(np.flatnonzero(rng.random(len(workload)) < fraction))


def map_prompts(workload: Workload, tokens: Callable[[Int], Int]) -> Workload:
    """Return the workload with prompts of n tokens made ``tokens(n)`` long, which must not fall with n.

    What two prompts share is shortened or stretched alike, so that they go on sharing it.
    """
    table = workload.prefix
    if table is not None:
        ends = tokens(table.end_tokens)
        row = np.repeat(np.arange(len(workload)), np.diff(table.offsets))
        again = np.concatenate(([False], (row[1:] == row[:-1]) & (ends[1:] == ends[:-1])))
        keep = (ends > 0) & ~again
        offsets = np.concatenate(([0], np.cumsum(np.bincount(row[keep], minlength=len(workload)))))
        table = PrefixTable(offsets, table.ids[keep], ends[keep])
    return replace(workload, prompt_tokens=np.maximum(tokens(workload.prompt_tokens), 1), prefix=table)


def with_lead(workload: Workload, seconds: NDArray[np.float64]) -> Workload:
    """Return the workload whose requests spend so many seconds more before they reach the cluster, in that order."""
    more = np.rint(seconds * PS_PER_S).astype(np.int64)
    if workload.follow_ups is not None:
        more = np.where(workload.follow_ups.after < 0, more, 0)
    lead = more if workload.lead_ps is None else workload.lead_ps + more
    if workload.closed_loop is not None:
        return replace(workload, lead_ps=lead)
    arrival = workload.arrival_ps + more
    return replace(workload, arrival_ps=arrival, lead_ps=lead).take(np.argsort(arrival, kind="stable"))


def _first(count: int) -> Int:
    return np.arange(count, dtype=np.int64)
