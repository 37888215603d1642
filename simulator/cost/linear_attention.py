"""Attention over a state of constant size on some of the layers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.core import Request
from simulator.cost.terms import Terms
from simulator.cost.wrapped_terms import WrappedTerms
from simulator.hardware.profile import Profile
from simulator.model import KV_BYTES, Attention, Transformer

Float = NDArray[np.float64]


def state_numbers(attention: Attention, tensor_parallel: int) -> int:
    """Return the numbers of one sequence's state in one layer on one GPU: key size x value size for each KV head."""
    return attention.kv_heads_each(tensor_parallel) * attention.head_dim * attention.value_dim


class LinearAttention(WrappedTerms):
    """Terms with linear attention on ``changed`` of the layers, by the rooflines of the GPU's attention kernels.

    A decode reads and writes each sequence's state; a prompt's token adds to the state and reads it, 4 FLOPs for each
    number of a query head's state.
    """

    def __init__(self, terms: Terms, model: Transformer, profile: Profile, tensor_parallel: int, changed: int) -> None:
        super().__init__(terms, "linear attention", f"roofline, on {changed} of {model.layers} layers")
        attention = model.kinds[0].attention
        assert isinstance(attention, Attention)
        self._profile = profile
        self._changed = changed
        self._share = changed / model.layers
        heads = attention.heads // tensor_parallel
        self._flops = 4.0 * heads * attention.head_dim * attention.value_dim
        self._state_bytes = state_numbers(attention, tensor_parallel) * KV_BYTES[model.precision.kv]
        self._token_bytes = 2.0 * (2 * heads + 2 * attention.kv_heads_each(tensor_parallel)) * attention.head_dim

    def decode(self, batch: Float, context: Float) -> Float:
        """Return seconds of attention of ``batch`` decodes."""
        size = 2 * self._state_bytes + self._token_bytes
        linear = self._profile.decode_attention.table(self._flops * batch, size * batch)
        return np.asarray((1 - self._share) * self._terms.decode(batch, context) + self._changed * linear)

    def prompts(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: float, longest: float
    ) -> float:
        """Return seconds of attention of prompt chunks."""
        softmax = self._terms.prompts(chunks, tokens, requests, context, longest)
        size = 2 * self._state_bytes * len(chunks) + self._token_bytes * tokens
        linear = self._profile.prefill_attention.seconds(self._flops * tokens, size)
        return (1 - self._share) * softmax + self._changed * linear
