"""What can be done to any workload: faster, shorter, thinner."""

from dataclasses import replace

import numpy as np

from simulator.core.errors import InputError
from simulator.core.units import MAX_PS, to_ps
from simulator.workload.clock import LONGEST_DAYS, LONGEST_PS
from simulator.workload.table import Int, Workload


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


def _first(count: int) -> Int:
    return np.arange(count, dtype=np.int64)
