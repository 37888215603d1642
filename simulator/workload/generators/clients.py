"""Who sends the requests, and how urgent they are."""

import re
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from simulator.workload.generators.lengths import draw_weighted, draw_zipf
from simulator.workload.section import Count, Section
from simulator.workload.table import Workload


class Clients(Section):
    """``count`` clients, the n-th sending in proportion to 1/n to the power of ``zipf`` (0 is evenly)."""

    count: Count
    zipf: Annotated[float, Field(ge=0, le=20)] = 0.0

    def apply(self, workload: Workload, rng: np.random.Generator) -> Workload:
        """Return the workload with a client for each request, named ``client-1`` and so on."""
        client = draw_zipf(rng, np.arange(1, self.count + 1), self.zipf, len(workload))
        return replace(workload, client=client, clients=tuple(f"client-{n}" for n in range(1, self.count + 1)))


def _whole_number(key: Any) -> Any:
    # YAML mappings have text keys.
    return int(key) if isinstance(key, str) and re.fullmatch(r"-?\d+", key) else key


Priority = Annotated[int, BeforeValidator(_whole_number)]
Priorities = Annotated[dict[Priority, Annotated[float, Field(gt=0)]], Field(min_length=1)]
"""Each priority's weight; a lower priority runs earlier."""


def prioritise(weights: dict[int, float], workload: Workload, rng: np.random.Generator) -> Workload:
    """Return the workload with a priority for each request, drawn by weight."""
    drawn = draw_weighted(rng, np.fromiter(weights.values(), np.float64), len(workload))
    return replace(workload, priority=np.fromiter(weights, np.int64)[drawn])
