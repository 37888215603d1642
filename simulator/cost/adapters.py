"""LoRA adapters in a batch: two thin products beside each of the model's, with every adapter's own matrices."""

import numpy as np
from numpy.typing import NDArray

from simulator.cost.terms import Terms
from simulator.cost.wrapped_terms import WrappedTerms
from simulator.hardware.profile import Profile
from simulator.model import Transformer

Float = NDArray[np.float64]
_BYTES = 2


class AdapterSizes:
    """What an adapter of ``rank`` adds to the products of attention and MLPs of a model on one GPU."""

    def __init__(self, model: Transformer, rank: int, tensor_parallel: int) -> None:
        shapes = [
            (kind.count, linear.inputs, linear.outputs)
            for kind in model.kinds
            for linear in model.linears(kind, tensor_parallel)
            if linear.name != "router"
        ]
        self.products = 2 * sum(count for count, _, _ in shapes)
        self.weights = sum(count * rank * (inputs + outputs) for count, inputs, outputs in shapes)

    @property
    def weight_bytes(self) -> int:
        """Bytes of one adapter."""
        return _BYTES * self.weights


class AdapterTerms(WrappedTerms):
    """Terms of a model whose requests each have one of some adapters; ``shares`` is how often each is asked for.

    All products of one kind in a batch are one kernel, which reads the matrices of the adapters in it: of so many draws
    by ``shares``, those expected to differ. A prompt's tokens have one adapter.
    """

    def __init__(self, terms: Terms, sizes: AdapterSizes, shares: Float, profile: Profile) -> None:
        super().__init__(terms, "adapters", "roofline of the profile, one kernel for all adapters of a batch")
        self._sizes = sizes
        self._shares = shares
        self._profile = profile

    def different(self, requests: Float) -> Float:
        """Return how many adapters so many requests are expected to have."""
        missed = (1 - self._shares[:, None]) ** np.atleast_1d(requests)[None, :]
        return np.asarray((1 - missed).sum(axis=0)).reshape(np.shape(requests))

    def dense(self, tokens: Float) -> Float:
        """Return seconds of the layers in a decode iteration, adapters included."""
        return self._terms.dense(tokens) + self._adapters(tokens, self.different(tokens))

    def dense_with_prompts(self, tokens: Float) -> Float:
        """Return seconds of the layers in an iteration with prompts, adapters included."""
        return self._terms.dense_with_prompts(tokens) + self._adapters(tokens, np.ones_like(tokens))

    def _adapters(self, tokens: Float, adapters: Float) -> Float:
        sizes = self._sizes
        each = sizes.weights / sizes.products
        kernel = self._profile.gemm.table(2.0 * tokens * each, _BYTES * adapters * each)
        return np.asarray(sizes.products * kernel)
