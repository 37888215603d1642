"""How long prompts and outputs are: one class a distribution, in tokens."""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from simulator.workload.section import Count, Section
from simulator.workload.table import Int


class Fixed(Section):
    """Always the same number of tokens."""

    distribution: Literal["fixed"]
    tokens: Count

    def draw(self, rng: np.random.Generator, requests: int) -> Int:
        """Return a length for each request."""
        return np.full(requests, self.tokens, np.int64)


class _Bounded(Section):
    min: Count = 1
    max: Count

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Uniform(_Bounded):
    """Every length from ``min`` to ``max`` is as likely."""

    distribution: Literal["uniform"]

    def draw(self, rng: np.random.Generator, requests: int) -> Int:
        """Return a length for each request."""
        return rng.integers(self.min, self.max, requests, endpoint=True)


class Lognormal(_Bounded):
    """Lengths whose logarithm is normal with deviation ``sigma`` around a ``median``, clipped to the bounds."""

    distribution: Literal["lognormal"]
    median: Annotated[float, Field(gt=0)]
    sigma: Annotated[float, Field(ge=0, le=20)]

    def draw(self, rng: np.random.Generator, requests: int) -> Int:
        """Return a length for each request."""
        # Clipped before rounding: far out in the tail a float would not fit an integer.
        lengths = self.median * np.exp(self.sigma * rng.standard_normal(requests))
        return np.rint(np.clip(lengths, self.min, self.max)).astype(np.int64)


class Zipf(_Bounded):
    """Length k is drawn in proportion to k to the power of minus ``exponent``, from ``min`` to ``max``."""

    distribution: Literal["zipf"]
    exponent: Annotated[float, Field(ge=0, le=20)]
    max: Annotated[int, Field(ge=1, le=1_000_000)]

    def draw(self, rng: np.random.Generator, requests: int) -> Int:
        """Return a length for each request."""
        return self.min + draw_zipf(rng, np.arange(self.min, self.max + 1), self.exponent, requests)


Length = Annotated[Fixed | Uniform | Lognormal | Zipf, Field(discriminator="distribution")]


def draw_zipf(rng: np.random.Generator, ranks: Int, exponent: float, count: int) -> Int:
    """Return indices into ``ranks``, each drawn in proportion to its rank to the power of minus ``exponent``."""
    return draw_weighted(rng, (ranks / ranks[0]) ** -exponent, count)


def draw_weighted(rng: np.random.Generator, weights: "np.ndarray[tuple[int], np.dtype[np.float64]]", count: int) -> Int:
    """Return indices drawn in proportion to their weights."""
    reach = np.cumsum(weights, dtype=np.float64)
    index: Int = np.searchsorted(reach, rng.random(count) * reach[-1], side="right")
    index[index == len(reach)] -= 1  # the product may round up to the very end
    return index
