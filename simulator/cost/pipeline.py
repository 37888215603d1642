"""Pipeline parallelism: a batch is cut into micro-batches that follow one another through the stages."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.core import Request
from simulator.cost.terms import Seen, Terms

Float = NDArray[np.float64]


class PipelineTerms:
    """Terms of an instance whose layers are spread over ``stages`` groups of GPUs; see ``Terms``.

    ``terms`` are those of one group of GPUs that had all layers; ``hop`` gives seconds to hand so many tokens on to the
    next stage. Of n decodes, each of ``stages`` micro-batches has n / stages: while one is in a stage the others are in
    the others, so that every decode advances by one token in the time one micro-batch takes through all stages. The
    last stage has the output head beside its layers, and all wait for it. A prompt chunk is in one micro-batch and
    passes all stages before the next iteration begins (the bubble): only chunks of different requests overlap.
    """

    def __init__(self, terms: Terms, stages: int, hop: Callable[[Float], Float]) -> None:
        self._terms = terms
        self._stages = stages
        self._hop = hop

    @property
    def knots(self) -> Float:
        """Contexts between which ``decode`` is a straight line."""
        return self._terms.knots

    @property
    def notes(self) -> dict[str, str]:
        """What each term rests on."""
        return self._terms.notes | {"pipeline": "micro-batches in lock-step over the measured link"}

    @property
    def adds_up(self) -> bool:
        """Tell whether attention of prompts and decodes in one iteration is the sum of both."""
        return self._terms.adds_up

    def dense(self, tokens: Float) -> Float:
        """Return seconds of a decode iteration but for attention, head and host."""
        each = tokens / np.minimum(tokens, self._stages)
        return np.asarray(self._terms.dense(each) + (self._stages - 1) * self._hop(each))

    def dense_with_prompts(self, tokens: Float) -> Float:
        """Return the same for an iteration whose tokens are mostly those of one prompt chunk."""
        return np.asarray(self._terms.dense(tokens) + (self._stages - 1) * self._hop(tokens))

    def sample(self, requests: Float) -> Float:
        """Return seconds of the head for all micro-batches, one after the other on the last stage."""
        parts = np.minimum(requests, self._stages)
        return np.asarray(parts * self._terms.sample(requests / parts))

    def decode(self, batch: Float, context: Float) -> Float:
        """Return seconds of attention of one micro-batch's decodes over all layers."""
        return self._terms.decode(batch / np.minimum(batch, self._stages), context)

    def skew(self, batch: int) -> float:
        """Return how much of a batch's attention waits for its longest context, from 0 to 1."""
        return self._terms.skew(max(1, round(batch / self._stages)))

    def prompts(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: float, longest: float
    ) -> float:
        """Return seconds of attention of prompt chunks, those of different requests in different micro-batches."""
        parts = min(len(chunks), self._stages)
        return self._terms.prompts(chunks, tokens, requests, context, longest) / parts

    def beyond(self, seen: Seen) -> list[str]:
        """Return where a run left what was measured, one line each."""
        return self._terms.beyond(seen)
