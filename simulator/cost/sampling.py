"""What drawing tokens at random adds to an iteration, and sorting logits to cut them at a probability."""

import numpy as np
from numpy.typing import NDArray

from simulator.cost.terms import Terms
from simulator.cost.wrapped_terms import WrappedTerms
from simulator.hardware.engine_profile import TopP
from simulator.hardware.profile import Profile

Float = NDArray[np.float64]


class DrawnTokens(WrappedTerms):
    """Terms whose tokens are drawn from ``vocab`` logits a request, which moves ``draw_bytes`` for each.

    ``top_p``: what cutting the logits at a probability takes before; none: the token is drawn from all.
    """

    def __init__(self, terms: Terms, vocab: int, profile: Profile, draw_bytes: float, top_p: TopP | None) -> None:
        note = f"{draw_bytes:.0f} bytes a logit"
        if top_p is not None:
            note += f" and {top_p.logit_bytes:.0f} to sort it"
            note += "" if top_p.many is None else f", {top_p.many_logit_bytes:.0f} from {top_p.many} requests on"
        super().__init__(terms, "drawing tokens", f"{note}, at the memory's bandwidth")
        self._byte_s = vocab / profile.memory.bandwidth
        self._draw_bytes = draw_bytes
        self._top_p = top_p
        self._side_by_side = (profile.sms or 0) * (top_p.blocks_per_sm if top_p else 0.0)

    def sample(self, requests: Float) -> Float:
        """Return seconds of the output head and the sampler, with the draw."""
        took = self._draw_bytes * self._byte_s * requests
        if self._top_p is not None:
            took = took + self._sort(self._top_p, requests)
        return np.asarray(self._terms.sample(requests) + took)

    def _sort(self, by: TopP, requests: Float) -> Float:
        took = (by.launches + by.logit_bytes * self._byte_s * requests) * (requests > 0)
        if by.many is None:
            return took
        blocks = np.maximum(requests, self._side_by_side)
        return np.where(requests < by.many, took, by.many_logit_bytes * self._byte_s * blocks)
