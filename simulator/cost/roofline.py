"""Iteration time of a dense transformer from the rooflines of a GPU profile.

An iteration is the sum of its matrix products (at the batch's tokens), memory-bound small operators, all-reduces,
prompt attention, decode attention, the sampled tokens' output head, and the host. All but decode attention stand still
while a batch only decodes; that is affine in the KV tokens read, so a run of decode iterations has a closed form.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core import PS_PER_S, InputError, Request, to_ps
from simulator.cost.base import CostModel, Decodes
from simulator.hardware.profile import Profile
from simulator.model.transformer import Transformer

_FAR = 10**6  # KV tokens: where the slope of decode attention is read off
_FOREVER = 2**62
_FIRST_REACH = 4096
Float = NDArray[np.float64]


class RooflineCost(CostModel):
    """One instance of ``tensor_parallel`` GPUs of one profile."""

    def __init__(self, model: Transformer, profile: Profile, tensor_parallel: int) -> None:
        model.check_split(tensor_parallel)
        if tensor_parallel > 1 and (profile.allreduce is None or tensor_parallel > profile.allreduce.most_gpus):
            most = 1 if profile.allreduce is None else profile.allreduce.most_gpus
            raise InputError(
                f"tensor_parallel {tensor_parallel}: all-reduces of {profile.name} were measured on up to {most} GPUs"
            )
        self.model = model
        self.profile = profile
        self.tensor_parallel = tensor_parallel
        self._linears = model.linears(tensor_parallel)
        self._heads = model.heads // tensor_parallel
        self._kv_heads = model.kv_heads_each(tensor_parallel)
        self._flops_a_pair = 2 * self._heads * model.head_dim
        self._bytes_a_token = 2 * model.kv_bytes_each * model.head_dim * self._heads
        self._bytes_a_kv_token = 2 * model.kv_bytes_each * model.head_dim * self._kv_heads
        self._layers_ps = model.layers * PS_PER_S
        # Picoseconds by number of tokens, and by number of requests; made longer as larger batches come.
        self._dense_ps: list[int] = []
        self._sample_ps: list[int] = []
        self._reach(_FIRST_REACH)
        # Whole picoseconds a KV token: rounding is below 0.1 % for any model that keeps over 2 KB of KV a token.
        self._attend_launch = to_ps(model.layers * self._attend(0))
        self._attend_slope = round(to_ps(model.layers * (self._attend(_FAR) - self._attend(0))) / _FAR)

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        """Return (first, growth, limit) of iterations that only decode; see ``CostModel``."""
        if requests >= len(self._dense_ps):
            self._reach(requests)
        slope = self._attend_slope
        still = self._dense_ps[requests] + self._sample_ps[requests] + self._attend_launch
        return still + slope * context, slope * requests, _FOREVER

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the duration of an iteration with prompt chunks; see ``CostModel``."""
        pairs = written = 0
        for request, new in chunks:
            # Each new token attends to the cached ones and, causally, to half of the new ones.
            pairs += new * (2 * request.computed + new)
            written += request.computed + new
        flops, read = self._flops_a_pair * pairs, self._bytes_a_token * tokens + self._bytes_a_kv_token * written
        duration = round(self._layers_ps * self.profile.prefill_attention.seconds(flops, read))
        if requests + tokens >= len(self._dense_ps):
            self._reach(requests + tokens)
        duration += self._dense_ps[requests + tokens] + self._sample_ps[requests + len(chunks)]
        if requests:
            duration += self._attend_launch + self._attend_slope * context
        return duration

    def coverage(self) -> dict[str, Any]:
        """Return, by term, what it rests on."""
        roofline = f"roofline fitted to measured kernels ({self.profile.name})"
        return {
            "linear": roofline,
            "prefill_attention": roofline,
            "decode_attention": roofline,
            "elementwise": "stated efficiency",
            "allreduce": "fitted latency and bandwidth" if self.tensor_parallel > 1 else "none needed",
            "host": "fitted constants of the engine",
            "provenance": self.profile.provenance,
        }

    def _attend(self, context: int) -> float:
        """Seconds one layer's decode attention over so many KV tokens takes."""
        flops = 4 * self._heads * self.model.head_dim * context
        size = 2 * self.model.kv_bytes_each * self._kv_heads * self.model.head_dim * context
        return self.profile.decode_attention.seconds(flops, size)

    def _reach(self, tokens: int) -> None:
        """Make both tables reach beyond a number of tokens; in one go for many is hundreds of times cheaper each."""
        new = np.arange(len(self._dense_ps), max(tokens + 1, 2 * len(self._dense_ps)), dtype=np.float64)
        # No iteration has 0 tokens; what the tables say there is never read.
        new = np.maximum(new, 1)
        self._dense_ps += np.rint(self._layers_ps * self._layer(new)).astype(np.int64).tolist()
        self._sample_ps += np.rint(PS_PER_S * self._sample(new)).astype(np.int64).tolist()

    def _layer(self, tokens: Float) -> Float:
        """Seconds a layer takes for everything that depends on the number of tokens alone."""
        model, profile = self.model, self.profile
        each = model.weight_bytes_each
        layer = np.zeros_like(tokens)
        for _, inputs, outputs in self._linears:
            moved = each * (tokens * inputs + inputs * outputs + tokens * outputs)
            layer += profile.gemm.table(2 * tokens * inputs * outputs, moved)
        ffn, attended = model.ffn // self.tensor_parallel, (self._heads + self._kv_heads) * model.head_dim
        # Twice residual add and norm, activation, rotary embedding: bytes read and written a token.
        for numbers in (4 * model.hidden, 4 * model.hidden, 3 * ffn, 2 * attended):
            layer += profile.elementwise.launch + numbers * each * tokens / profile.elementwise.bandwidth
        if self.tensor_parallel > 1 and (link := profile.allreduce) is not None:
            share = 2 * (self.tensor_parallel - 1) / self.tensor_parallel
            layer += 2 * (link.latency + share * tokens * model.hidden * each / link.bandwidth)
        return layer

    def _sample(self, requests: Float) -> Float:
        """Seconds of the output head for the requests of an iteration, and of the host's work for them."""
        hidden, columns = self.model.hidden, self.model.vocab // self.tensor_parallel
        moved = self.model.weight_bytes_each * (requests * hidden + hidden * columns + requests * columns)
        head = self.profile.gemm.table(2 * requests * hidden * columns, moved)
        return head + self.profile.host.iteration + self.profile.host.sequence * requests
