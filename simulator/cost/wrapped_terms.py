"""Terms around other terms: what a technique derives from to change what kernels take."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.core import Request
from simulator.cost.terms import Seen, Terms

Float = NDArray[np.float64]


class WrappedTerms:
    """Answers as the terms within do; a technique overrides what it changes, and ``note`` tells the results of it."""

    def __init__(self, terms: Terms, name: str, note: str) -> None:
        self._terms = terms
        self._name = name
        self._note = note

    @property
    def knots(self) -> Float:
        """Contexts between which ``decode`` is a straight line."""
        return self._terms.knots

    @property
    def notes(self) -> dict[str, str]:
        """What each term rests on, the technique among it."""
        return self._terms.notes | {self._name: self._note}

    @property
    def adds_up(self) -> bool:
        """Tell whether attention of prompts and decodes in one iteration is the sum of both."""
        return self._terms.adds_up

    def dense(self, tokens: Float) -> Float:
        """Return seconds of everything that depends on the number of tokens alone."""
        return self._terms.dense(tokens)

    def dense_with_prompts(self, tokens: Float) -> Float:
        """Return the same for iterations with prompt chunks."""
        return self._terms.dense_with_prompts(tokens)

    def sample(self, requests: Float) -> Float:
        """Return seconds of the output head and the sampler."""
        return self._terms.sample(requests)

    def decode(self, batch: Float, context: Float) -> Float:
        """Return seconds of attention of ``batch`` decodes that read ``context`` KV tokens each."""
        return self._terms.decode(batch, context)

    def skew(self, batch: int) -> float:
        """Return how much of a batch's attention waits for its longest context, from 0 to 1."""
        return self._terms.skew(batch)

    def prompts(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: float, longest: float
    ) -> float:
        """Return seconds of attention in an iteration with prompt chunks; see ``Terms``."""
        return self._terms.prompts(chunks, tokens, requests, context, longest)

    def beyond(self, seen: Seen) -> list[str]:
        """Return where a run left what was measured, one line each."""
        return self._terms.beyond(seen)
