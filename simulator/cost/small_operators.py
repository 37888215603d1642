"""Memory-bound small operators of a layer: norms, activation, rotary embedding."""

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.profile import Profile

Float = NDArray[np.float64]
# Pooled fit to the layer profiles of vLLM 0.19 on three GPUs (median error 9 %): what fits in this share of the level-2
# cache is read so many times faster than the datasheet's memory bandwidth.
_CACHED_SHARE = 0.6
_CACHED_GAIN = 2.6


def small_operator(profile: Profile, bytes_a_token: float, tokens: Float) -> Float:
    """Return seconds of one operator that reads and writes so many bytes a token.

    Launch, then bytes at the profile's elementwise bandwidth; those that stay in the level-2 cache are faster.
    """
    elementwise, memory = profile.elementwise, profile.memory
    size = bytes_a_token * tokens
    cached = np.minimum(size, _CACHED_SHARE * (memory.l2 or 0.0))
    fast = cached / (_CACHED_GAIN * memory.bandwidth)
    return np.asarray(elementwise.launch + fast + (size - cached) / elementwise.bandwidth)
