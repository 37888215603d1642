"""Matrix products that a technique adds to an iteration: heads, adapters, projections."""

from collections.abc import Sequence

import numpy as np

from simulator.core import PS_PER_S
from simulator.cost.build import kernel_library
from simulator.cost.linear import LinearTimes
from simulator.hardware.engine_profile import EngineProfile
from simulator.hardware.profile import Profile
from simulator.model import Linear


class Products:
    """Times of some matrix products on one GPU, one after the other, with the engine's kernels."""

    def __init__(self, profile: Profile, engine: EngineProfile, linears: Sequence[Linear]) -> None:
        self._times = LinearTimes(profile, kernel_library(profile.tables, engine.kernels))
        self._linears = linears
        self._ps: dict[int, float] = {}

    @property
    def weight_bytes(self) -> float:
        """Bytes of their weights."""
        return sum(linear.weight_bytes for linear in self._linears)

    def ps(self, tokens: int) -> float:
        """Return picoseconds of all of them for so many tokens."""
        known = self._ps.get(tokens)
        if known is None:
            at = np.array([max(tokens, 1)], np.float64)
            seconds = sum(float(self._times.seconds(linear, at)[0]) for linear in self._linears)
            known = self._ps[tokens] = seconds * PS_PER_S
        return known
