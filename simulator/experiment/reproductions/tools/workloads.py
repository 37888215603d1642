"""Requests of a reproduction: when they arrive, and with which lengths."""

import numpy as np
from numpy.typing import NDArray

from simulator.core import PS_PER_S
from simulator.experiment.reproductions.tools.lengths import Drawn
from simulator.workload.table import Int, Workload

Float = NDArray[np.float64]


def arrivals(rng: np.random.Generator, requests: int, rate: float, cv: float = 1.0) -> Float:
    """Return arrival times in seconds with gamma-distributed gaps: ``cv`` 1 is Poisson, 0 a request every 1/rate.

    From the same random state, another rate gives the same arrivals, only closer together.
    """
    shape = 1 / cv**2 if cv else 0.0
    gaps = rng.standard_gamma(shape, requests) / shape if cv else np.ones(requests)
    return np.asarray(np.cumsum(gaps) / rate, np.float64)


def workload(times: Float, lengths: Drawn, client: Int | None = None, clients: tuple[str, ...] = ()) -> Workload:
    """Return requests at times in seconds (rising) as a workload."""
    arrival = np.rint(times * PS_PER_S).astype(np.int64)
    return Workload("reproduction", "reproduction", arrival, lengths.prompt, lengths.output, None, client, clients)
