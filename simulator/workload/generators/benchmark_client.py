"""The client that benchmarks run: so many requests in flight, a known number in all, warm-ups before."""

from dataclasses import dataclass

import numpy as np

from simulator.core.streams import Streams
from simulator.core.units import to_ps
from simulator.workload.table import ClosedLoop, Int, Workload


@dataclass(frozen=True)
class BenchmarkClient:
    """A closed loop as ``vllm bench serve --max-concurrency`` runs it: end of sequence ignored, lengths known.

    All ``concurrency`` requests of the opening burst are sent at once; each further one ``gap_s`` seconds after one
    ended. Lengths are uniform between ``shortest`` x nominal (rounded down) and nominal. The first ``warmups``
    requests run before the rest and are measured by nobody.
    """

    concurrency: int
    prompt_tokens: int
    output_tokens: int
    requests: int
    warmups: int = 0
    shortest: float = 1.0
    gap_s: float = 0.0

    def workload(self, seed: int) -> Workload:
        """Return the warm-ups and after them the requests that are measured."""
        streams, count = Streams(seed), self.warmups + self.requests
        return Workload(
            "benchmark client",
            f"closed loop of {self.concurrency}, seed {seed}",
            np.zeros(count, np.int64),
            self._lengths(streams.get("prompt"), self.prompt_tokens, count),
            self._lengths(streams.get("output"), self.output_tokens, count),
            closed_loop=ClosedLoop(self.concurrency, to_ps(self.gap_s)),
        )

    def _lengths(self, rng: np.random.Generator, nominal: int, count: int) -> Int:
        return rng.integers(max(1, int(self.shortest * nominal)), nominal, count, endpoint=True)
