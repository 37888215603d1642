"""Matrix products with two of four weights kept."""

import numpy as np
from numpy.typing import NDArray

from simulator.cost.linear import LinearTimes
from simulator.hardware.profile import Profile
from simulator.model import WEIGHT_BYTES, Linear

Float = NDArray[np.float64]


def sparse_bytes(linear: Linear) -> float:
    """Return the bytes of 2:4 sparse weights: half of them, and 2 bits for each kept one's place among four."""
    return linear.weights * (WEIGHT_BYTES[linear.dtype] / 2 + 1 / 8)


class SparseTimes:
    """A dense product's time, scaled by what the GPU's 16-bit roofline says of the sparse one and of the dense one.

    Where bytes bound it, it is as much faster as the weights are smaller; where FLOPs do, ``speedup`` times.
    """

    def __init__(self, times: LinearTimes, profile: Profile, linear: Linear, speedup: float) -> None:
        self._times = times
        self._roofline = profile.gemm
        self._linear = linear
        self._speedup = speedup

    def seconds(self, tokens: Float) -> Float:
        """Return its seconds for each number of tokens."""
        linear = self._linear
        flops = 2.0 * tokens * linear.weights
        activations = 2.0 * tokens * (linear.inputs + linear.outputs)
        dense = self._roofline.table(flops, activations + linear.weight_bytes)
        sparse = self._roofline.table(flops / self._speedup, activations + sparse_bytes(linear))
        return np.asarray(self._times.seconds(linear, tokens) * sparse / dense)
