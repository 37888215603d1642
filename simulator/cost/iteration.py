"""Iteration time of one instance: terms tabulated in whole picoseconds, so that the engine only looks them up."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.core import PS_PER_S, Request
from simulator.cost.base import CostModel, Decodes
from simulator.cost.decode_curve import DecodeCurves
from simulator.cost.terms import Seen, Terms
from simulator.hardware.engine_profile import Host

_FIRST_REACH = 2048
Float = NDArray[np.float64]


class LayerCosts(NamedTuple):
    """Seconds an iteration that a model's layers cost the host.

    ``always``, and ``launched`` more when no graph is replayed; then launching all kernels takes ``least``.
    """

    always: float = 0.0
    launched: float = 0.0
    least: float = 0.0


_NO_LAYERS = LayerCosts()


class IterationCost(CostModel):
    """GPU terms and an engine's host, together.

    While a batch only decodes, nothing but its attention changes, and that is affine in the KV tokens read between two
    knots: a run of decode iterations has a closed form. ``captured``: iterations of up to so many tokens replay a CUDA
    graph, padded to the next captured size. ``layers``: what of the host's cost goes with the model's layers.
    """

    def __init__(
        self, terms: Terms, host: Host, captured: int, provenance: dict[str, str], layers: LayerCosts = _NO_LAYERS
    ) -> None:
        self._terms = terms
        self._host = host
        self._captured = captured
        self._layers = layers
        self._provenance = provenance
        self._curves = DecodeCurves(lambda batch, context: host.decode * terms.decode(batch, context), terms.knots)
        self._waiting = DecodeCurves(
            lambda batch, context: self._skew_of(int(batch[0])) * host.decode * terms.decode(batch, context),
            terms.knots,
        )
        self._prompt_ps = PS_PER_S * host.prefill
        self._adds_up = terms.adds_up
        self._skews: list[float] = []
        # Picoseconds by number of tokens and of requests; made longer as larger batches come.
        self._decode_ps: list[int] = []
        self._mixed_ps: list[int] = []
        self._sample_ps: list[int] = []
        self._floor_ps: list[int] = []
        self._made = self._curves.made
        self._reach(_FIRST_REACH)
        self._least_ps = round(PS_PER_S * layers.least)
        self._has_floor = host.floor_iteration > 0 or host.floor_sequence > 0 or layers.least > 0
        self._has_skew = any(terms.skew(batch) for batch in (1, 8, 64, 256))

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        """Return (first, growth, limit) of iterations that only decode; see ``CostModel``."""
        if requests >= len(self._decode_ps):
            self._reach(requests)
        # As `DecodeCurves.at`, a call saved: this runs once or twice a request.
        starts, bases, slopes = self._made.get(requests) or self._curves.make(requests)
        after = bisect_right(starts, context)
        slope = slopes[after - 1]
        attention = bases[after - 1] + slope * (context - starts[after - 1])
        growth = slope * requests
        limit = (starts[after] - context - 1) // requests + 1
        if self._has_skew:
            # The longest sequence grows with the others: both parts are affine between their own knots. Differences of
            # a curve that holds the share already stay whole picoseconds all along a run.
            mean, gentler, _ = self._waiting.at(requests, context)
            longest, steeper, further = self._waiting.at(requests, requests * decodes.longest)
            attention += longest - mean
            growth += (steeper - gentler) * requests
            limit = min(limit, (further - 1) // requests + 1)
        first = self._decode_ps[requests] + self._sample_ps[requests] + attention
        if self._has_floor and (floor := self._floor_ps[requests]) > first:
            if growth:
                limit = min(limit, -(-(floor - first) // growth))
            return floor, 0, limit
        return first, growth, limit

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the duration of an iteration with prompt chunks; see ``CostModel``."""
        if requests + tokens >= len(self._mixed_ps):
            self._reach(requests + tokens)
        mean = context / requests if requests else 0.0
        longest = decodes.longest if requests and self._has_skew else mean
        attention = self._terms.prompts(chunks, tokens, requests, mean, longest)
        duration = self._mixed_ps[requests + tokens] + self._sample_ps[requests + len(chunks)]
        duration += round((self._prompt_ps if requests + tokens > self._captured else PS_PER_S) * attention)
        if requests and self._adds_up:
            duration += self._curves.at(requests, context)[0]
        if self._has_floor:
            duration = max(duration, self._floor_ps[requests + len(chunks)])
            if requests + tokens > self._captured:
                duration = max(duration, self._least_ps)
        return duration

    def coverage(self, seen: Seen | None = None) -> dict[str, Any]:
        """Return, by term, what it rests on, and where a run left what was measured."""
        found: dict[str, Any] = {"terms": dict(self._terms.notes)}
        if seen is not None:
            found["beyond"] = self._terms.beyond(seen)
        found["provenance"] = self._provenance
        return found

    def _skew_of(self, requests: int) -> float:
        skews = self._skews
        while requests >= len(skews):
            skews.append(self._terms.skew(len(skews)) if skews else 0.0)
        return skews[requests]

    def _reach(self, tokens: int) -> None:
        """Make the tables reach beyond a number of tokens; in one go for many is hundreds of times cheaper each."""
        new = np.arange(len(self._decode_ps), max(tokens + 1, 2 * len(self._decode_ps)), dtype=np.float64)
        # No iteration has 0 tokens; what the tables say there is never read.
        new = np.maximum(new, 1)
        host, terms = self._host, self._terms
        sizes = padded(new, self._captured)
        always = host.iteration + self._layers.always
        replayed = new <= self._captured
        launched = np.where(replayed, 0.0, self._layers.launched)
        prefill = np.where(replayed, 1.0, host.prefill)
        self._decode_ps += _ps(host.decode * terms.dense(sizes) + always + launched)
        self._mixed_ps += _ps(prefill * terms.dense_with_prompts(sizes) + always + launched)
        self._sample_ps += _ps(terms.sample(new) + host.sequence * new)
        floor = host.floor_iteration + host.floor_sequence * new
        self._floor_ps += _ps(np.where(replayed, floor, np.maximum(floor, self._layers.least)))


def padded(tokens: Float, captured: int) -> Float:
    """Return the sizes that CUDA graphs were captured at, as vLLM does: 1, 2, 4, multiples of 8 to 256, then of 16."""
    sizes = [1, 2, 4, *range(8, 257, 8), *range(272, captured + 1, 16)]
    sizes = [size for size in sizes if size <= captured]
    if not sizes:
        return tokens
    at = np.array(sizes, np.float64)
    up = at[np.minimum(np.searchsorted(at, tokens), len(at) - 1)]
    return np.where(tokens <= at[-1], up, tokens)


def _ps(seconds: Float) -> list[int]:
    return list(np.rint(PS_PER_S * np.asarray(seconds, np.float64)).astype(np.int64).tolist())
