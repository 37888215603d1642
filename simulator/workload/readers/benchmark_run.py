"""What a benchmark client recorded of one run: requests in the order they were sent, and their latencies."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.errors import InputError
from simulator.core.streams import Streams
from simulator.core.units import to_ps
from simulator.workload.generators.rates import renewals, steady
from simulator.workload.readers.source import open_text
from simulator.workload.readers.table import Float, Int
from simulator.workload.table import ClosedLoop, Workload


@dataclass(frozen=True)
class BenchmarkRun:
    """Shapes: one entry a completed request; latencies in ms, NaN where the client has none.

    ``concurrency`` is set for a closed loop; else ``sent_s`` has the times of sending in seconds, or, where these were
    not recorded, ``rate`` (requests a second) and ``burstiness`` (shape of gamma gaps, 1 is Poisson) say how they came.
    """

    name: str
    prompt: Int
    output: Int
    ttft: Float
    tpot: Float
    e2el: Float
    concurrency: int | None = None
    sent_s: Float | None = None
    rate: float | None = None
    burstiness: float = 1.0

    def workload(self, seed: int = 0) -> Workload:
        """Return these requests to be sent the same way again; InputError where the run does not say how."""
        arrival = np.zeros(len(self.prompt), np.int64)
        loop = ClosedLoop(self.concurrency) if self.concurrency else None
        if loop is None:
            times = self._times(seed)
            arrival = np.array([to_ps(time) for time in (times - times[0]).tolist()], np.int64)
        source = f"lengths of {self.name}"
        return Workload(self.name, source, arrival, self.prompt, self.output, closed_loop=loop)

    def _times(self, seed: int) -> Float:
        if self.sent_s is not None:
            return self.sent_s
        if self.rate is None:
            raise InputError(f"{self.name}: neither times of sending nor a rate or concurrency were recorded")
        # Gamma gaps of shape k vary by 1 / sqrt(k).
        gaps = renewals(Streams(seed).get("arrivals"), self.burstiness**-0.5, len(self.prompt), None)
        return steady(self.rate).when(gaps)


def in_order(run: BenchmarkRun) -> BenchmarkRun:
    """Return a run with its requests in the order of sending, where that was recorded."""
    if run.sent_s is None:
        return run
    order = np.argsort(run.sent_s, kind="stable")
    columns = {name: getattr(run, name)[order] for name in ("prompt", "output", "ttft", "tpot", "e2el", "sent_s")}
    return BenchmarkRun(run.name, concurrency=run.concurrency, rate=run.rate, burstiness=run.burstiness, **columns)


def read_object(path: Path) -> dict[str, Any]:
    """Return a JSON file's object; InputError where it is none."""
    try:
        value = json.loads(open_text(path))
    except ValueError as error:
        raise InputError(f"not JSON: {error}", where=str(path)) from None
    if not isinstance(value, dict):
        raise InputError("not a JSON object", where=str(path))
    return value


def whole(values: Any, name: str, path: Path) -> Int:
    """Return token counts of at least 1; InputError names the entry that is none."""
    numbers = real(values, name, path)
    bad = ~((numbers >= 1) & (numbers == np.rint(numbers)))
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(f"{name}[{at}] is {numbers[at]:g}, not a number of tokens", where=str(path))
    return numbers.astype(np.int64)


def real(values: Any, name: str, path: Path) -> Float:
    """Return a list of numbers, null as NaN; InputError where it is none."""
    try:
        numbers = np.array([np.nan if value is None else value for value in values], np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} is not a list of numbers", where=str(path)) from None
    return numbers
