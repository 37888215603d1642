"""Prompt and output lengths: from a public file, or from a distribution with published means or percentiles."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, RootModel, model_validator

from simulator.core import InputError
from simulator.workload.section import Count, Section
from simulator.workload.table import Int

Float = NDArray[np.float64]
_SAMPLE = 100_000  # lengths that a distribution's means are fitted on


class Drawn(NamedTuple):
    """Tokens of each request's prompt and output."""

    prompt: Int
    output: Int


class MeanAndCv(Section):
    """A lognormal length by its mean and its coefficient of variation, clipped to ``min`` and ``max`` tokens."""

    mean: Annotated[float, Field(gt=0)]
    cv: Annotated[float, Field(gt=0, le=20)]
    min: Count = 1
    max: Count = 2**31

    def at(self, normal: Float, mean: float) -> Int:
        """Return lengths for standard normal numbers, at another mean before clipping."""
        sigma = float(np.sqrt(np.log1p(self.cv**2)))
        lengths = mean * np.exp(sigma * normal - sigma**2 / 2)
        return np.rint(np.clip(lengths, self.min, self.max)).astype(np.int64)


class LognormalLengths(Section):
    """Prompt and output lognormal and independent.

    With ``most_tokens``, requests with more of prompt and output together are drawn again. ``exact_means``: the
    distributions are shifted so that the means hold after clipping and drawing again; without it they are those before.
    """

    kind: Literal["lognormal"]
    prompt: MeanAndCv
    output: MeanAndCv
    most_tokens: Count | None = None
    exact_means: bool = False

    def draw(self, rng: np.random.Generator, requests: int, data: str | None = None) -> Drawn:
        """Return lengths for each request."""
        means = _shifted(self.model_dump_json()) if self.exact_means else (self.prompt.mean, self.output.mean)
        return self._draw(rng, requests, means)

    def describe(self, data: str | None = None) -> str:
        """Return what the lengths are, for the report."""
        prompt, output = self.prompt, self.output
        return (
            f"lengths lognormal: prompt mean {prompt.mean:g} (CV {prompt.cv:g}), "
            f"output mean {output.mean:g} (CV {output.cv:g})"
            + (f", together at most {self.most_tokens}" if self.most_tokens else "")
        )

    def _draw(self, rng: np.random.Generator, requests: int, means: tuple[float, float]) -> Drawn:
        def once() -> Drawn:
            normal = rng.standard_normal((2, requests))
            return Drawn(self.prompt.at(normal[0], means[0]), self.output.at(normal[1], means[1]))

        return _redrawn(once, requests, self.most_tokens)


@lru_cache(maxsize=32)
def _shifted(lengths: str) -> tuple[float, float]:
    """Return the means before clipping and drawing again that give the wanted means after it."""
    spec = LognormalLengths.model_validate_json(lengths)
    wanted = spec.prompt.mean, spec.output.mean
    means = wanted
    for _ in range(100):
        drawn = spec._draw(np.random.default_rng(0), _SAMPLE, means)
        short = wanted[0] / float(drawn.prompt.mean()), wanted[1] / float(drawn.output.mean())
        if max(abs(short[0] - 1), abs(short[1] - 1)) < 0.001:
            return means
        means = means[0] * short[0], means[1] * short[1]
    raise InputError(f"no lognormal lengths have the means {wanted[0]:g} and {wanted[1]:g} within these limits")


class UniformLengths(Section):
    """Every prompt and every output length between two bounds (inclusive) is as likely."""

    kind: Literal["uniform"]
    prompt: Annotated[list[Count], Field(min_length=2, max_length=2)]
    output: Annotated[list[Count], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def _ordered(self) -> "UniformLengths":
        if self.prompt[0] > self.prompt[1] or self.output[0] > self.output[1]:
            raise ValueError("the lower bound comes first")
        return self

    def draw(self, rng: np.random.Generator, requests: int, data: str | None = None) -> Drawn:
        """Return lengths for each request."""
        (low, high), (least, most) = self.prompt, self.output
        prompt = rng.integers(low, high, requests, endpoint=True)
        return Drawn(prompt, rng.integers(least, most, requests, endpoint=True))

    def describe(self, data: str | None = None) -> str:
        """Return what the lengths are, for the report."""
        return "lengths uniform: prompt {} to {}, output {} to {}".format(*self.prompt, *self.output)


class Percentiles(RootModel[dict[float, Annotated[float, Field(ge=1)]]]):
    """Lengths by percentile, from 0 to 100, straight between those given."""

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        try:
            return {float(percent): tokens for percent, tokens in value.items()} if isinstance(value, dict) else value
        except ValueError:
            raise ValueError("percentiles must be numbers") from None

    @model_validator(mode="after")
    def _rising(self) -> "Percentiles":
        percents, tokens = list(self.root), list(self.root.values())
        if percents != sorted(percents) or tokens != sorted(tokens) or (percents[:1], percents[-1:]) != ([0], [100]):
            raise ValueError("percentiles must rise from 0 to 100, and their tokens with them")
        return self

    def at(self, percent: Float) -> Int:
        """Return lengths at percentiles from 0 to 100."""
        return np.rint(np.interp(percent, list(self.root), list(self.root.values()))).astype(np.int64)


class PercentileLengths(Section):
    """Prompt and output independent, each by its percentiles; requests with more than ``most_tokens`` drawn again."""

    kind: Literal["percentiles"]
    prompt: Percentiles
    output: Percentiles
    most_tokens: Count | None = None

    def draw(self, rng: np.random.Generator, requests: int, data: str | None = None) -> Drawn:
        """Return lengths for each request."""
        return _redrawn(lambda: self._draw(rng, requests), requests, self.most_tokens)

    def _draw(self, rng: np.random.Generator, requests: int) -> Drawn:
        percent = rng.uniform(0, 100, (2, requests))
        return Drawn(self.prompt.at(percent[0]), self.output.at(percent[1]))

    def describe(self, data: str | None = None) -> str:
        """Return what the lengths are, for the report."""
        prompt, output = (int(each.at(np.array(50.0))) for each in (self.prompt, self.output))
        return f"lengths drawn by published percentiles (medians {prompt} and {output}), prompt and output independent"


class CsvLengths(Section):
    """Rows of a public CSV file, sampled without replacement while they last; ``otherwise`` where it is not at hand.

    ``prompt`` and ``output`` name its columns. Rows with more than ``most_tokens`` together shrink to it in proportion
    (``beyond: shrink``) or are left out (``drop``).
    """

    kind: Literal["csv"]
    file: str
    prompt: str
    output: str
    most_tokens: Count | None = None
    beyond: Literal["shrink", "drop"] = "drop"
    otherwise: LognormalLengths | UniformLengths | PercentileLengths = Field(discriminator="kind")

    def draw(self, rng: np.random.Generator, requests: int, data: str | None = None) -> Drawn:
        """Return lengths for each request; ``data`` is the folder the file may be in."""
        file = self.found(data)
        if file is None:
            return self.otherwise.draw(rng, requests)
        prompt, output = _read(file, self.prompt, self.output)
        if self.most_tokens is not None:
            total = prompt + output
            if self.beyond == "drop":
                prompt, output = prompt[total <= self.most_tokens], output[total <= self.most_tokens]
            else:
                share = np.minimum(self.most_tokens / total, 1.0)
                prompt = np.maximum((prompt * share).astype(np.int64), 1)
                output = np.maximum((output * share).astype(np.int64), 1)
        if not len(prompt):
            raise InputError(f"no row has at most {self.most_tokens} tokens", where=str(file))
        rows = np.concatenate([rng.permutation(len(prompt)) for _ in range(-(-requests // len(prompt)))])[:requests]
        return Drawn(prompt[rows], output[rows])

    def describe(self, data: str | None = None) -> str:
        """Return where the lengths come from, for the report."""
        if self.found(data) is not None:
            return f"lengths from {self.file}"
        return f"{self.file} was not given with --data, so synthesised: {self.otherwise.describe()}"

    def found(self, data: str | None) -> Path | None:
        """Return the file if it is in the folder."""
        file = None if data is None else Path(data) / self.file
        return file if file is not None and file.is_file() else None


Lengths = Annotated[LognormalLengths | UniformLengths | PercentileLengths | CsvLengths, Field(discriminator="kind")]


def _redrawn(draw: Callable[[], Drawn], requests: int, most_tokens: int | None) -> Drawn:
    """Return lengths of so many requests, from as many draws as it takes for them to have at most ``most_tokens``."""
    if most_tokens is None:
        return draw()
    kept: list[Drawn] = []
    for _ in range(1000):
        prompt, output = draw()
        fits = prompt + output <= most_tokens
        kept.append(Drawn(prompt[fits], output[fits]))
        if sum(len(each.prompt) for each in kept) >= requests:
            prompts, outputs = (np.concatenate(column)[:requests] for column in zip(*kept, strict=True))
            return Drawn(prompts, outputs)
    raise InputError(f"hardly any request of these lengths has at most {most_tokens} tokens")


@lru_cache(maxsize=8)
def _read(file: Path, prompt: str, output: str) -> tuple[Int, Int]:
    import pandas as pd

    try:
        table = pd.read_csv(file, usecols=[prompt, output])
        columns = table[prompt].to_numpy(np.int64), table[output].to_numpy(np.int64)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the columns {prompt} and {output}: {error}", where=str(file)) from None
    if not len(table) or min(columns[0].min(), columns[1].min()) < 1:
        raise InputError("needs rows with 1 token or more in both columns", where=str(file))
    return columns
