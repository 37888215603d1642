"""Random streams: one independent generator per purpose, so that adding one draw never shifts another."""

from hashlib import blake2b

import numpy as np


class Streams:
    """Named random generators derived from one seed.

    The same seed and name give the same draws whatever other streams are used, in any order.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def get(self, purpose: str) -> np.random.Generator:
        """Return a fresh generator for a purpose such as ``"arrivals"`` or ``"router"``."""
        key = int.from_bytes(blake2b(purpose.encode(), digest_size=8).digest(), "little")
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, key])))
