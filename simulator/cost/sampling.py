"""What choosing tokens by top-p adds to an iteration: engines sort the logits of each request."""

import numpy as np
from numpy.typing import NDArray

from simulator.cost.terms import Terms
from simulator.cost.wrapped_terms import WrappedTerms

Float = NDArray[np.float64]


class TopPSampling(WrappedTerms):
    """Terms whose every request's logits are sorted and cut at a probability before its token is drawn.

    ``logit_bytes``: bytes that this moves for each of the ``vocab`` logits, at ``bandwidth`` bytes a second.
    """

    def __init__(self, terms: Terms, vocab: int, logit_bytes: float, bandwidth: float) -> None:
        super().__init__(terms, "top-p sampling", f"{logit_bytes:.0f} bytes a logit, at the memory's bandwidth")
        self._request_s = logit_bytes * vocab / bandwidth

    def sample(self, requests: Float) -> Float:
        """Return seconds of the output head and the sampler, with the sort."""
        return np.asarray(self._terms.sample(requests) + self._request_s * requests)
