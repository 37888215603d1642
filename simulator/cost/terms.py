"""What an iteration's duration is made of, in seconds of one GPU: between the tables and the engine's clock."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.core import Request

Float = NDArray[np.float64]


class Seen(NamedTuple):
    """The largest of what a run asked for: tokens and requests of an iteration, KV tokens of one sequence."""

    tokens: int
    requests: int
    context: int


class Terms(Protocol):
    """Seconds of one GPU's work, all layers together."""

    @property
    def knots(self) -> Float:
        """Contexts between which ``decode`` is a straight line."""
        ...

    @property
    def notes(self) -> dict[str, str]:
        """By term, what it rests on."""
        ...

    def dense(self, tokens: Float) -> Float:
        """Return seconds of everything that depends on the number of tokens alone."""
        ...

    def dense_with_prompts(self, tokens: Float) -> Float:
        """Return the same for iterations with prompt chunks, which a pipeline cannot cut as it likes."""
        ...

    def sample(self, requests: Float) -> Float:
        """Return seconds of the output head and the sampler for so many requests."""
        ...

    def decode(self, batch: Float, context: Float) -> Float:
        """Return seconds of attention of ``batch`` decodes that read ``context`` KV tokens each; arrays broadcast."""
        ...

    def skew(self, batch: int) -> float:
        """Return how much of a batch's attention waits for its longest context, from 0 to 1."""
        ...

    @property
    def adds_up(self) -> bool:
        """Tell whether attention of prompts and decodes in one iteration is the sum of both."""
        ...

    def prompts(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: float, longest: float
    ) -> float:
        """Return seconds of attention in an iteration with prompt chunks: theirs if it adds up, else all of it.

        ``chunks``: requests and new tokens, ``tokens`` in all. ``requests`` decode meanwhile over ``context`` KV tokens
        each on average, ``longest`` at most.
        """
        ...

    def beyond(self, seen: Seen) -> list[str]:
        """Return where a run left what was measured, one line each."""
        ...
