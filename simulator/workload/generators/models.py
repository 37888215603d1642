"""Which model each request asks for, where a cluster serves several."""

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from simulator.workload.generators.lengths import draw_weighted
from simulator.workload.table import Workload

_TOLERANCE = 1e-6  # three thirds are written as 0.333333 each


def _whole(shares: dict[str, float]) -> dict[str, float]:
    if abs(total := sum(shares.values()) - 1) > _TOLERANCE:
        raise ValueError(f"the shares add up to {1 + total:.6g}, not to 1")
    return shares


ModelShares = Annotated[
    dict[str, Annotated[float, Field(ge=0, le=1)]], Field(min_length=1), AfterValidator(_whole)
]  # fmt: skip
"""The share of the requests that each model gets, by its name."""


def ask_for_models(shares: dict[str, float], workload: Workload, rng: np.random.Generator) -> Workload:
    """Return the workload with a model for each request, drawn by share; those of one session ask for the same."""
    weights = np.fromiter(shares.values(), np.float64)
    if workload.session is None:
        model = draw_weighted(rng, weights, len(workload))
    else:
        model = draw_weighted(rng, weights, int(workload.session.max(initial=-1)) + 1)[workload.session]
    return replace(workload, model=model, models=tuple(shares))
