"""Prompt and output lengths drawn together, from a histogram or from the pairs of a file."""

from pathlib import Path
from typing import Self

import numpy as np
from pydantic import field_validator, model_validator

from simulator.workload.generators.rates import Float
from simulator.workload.readers import read_length_pairs
from simulator.workload.section import Section
from simulator.workload.table import Int

HEADER = "prompt_from prompt_to output_from output_to requests"
_MOST_REQUESTS = 10_000_000


class JointLengths(Section):
    """Pairs of prompt and output length: drawn with replacement from a ``file``, or from a ``histogram``.

    A histogram is text, one cell a line, with the columns ``prompt_from prompt_to output_from output_to requests``
    (bounds included) and lines that start with ``#`` passed over. Cells are dealt like cards: as many requests as the
    histogram has fill each cell exactly, and then it starts again. Inside a cell lengths are log-uniform.
    """

    file: str | None = None
    histogram: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.histogram is None):
            raise ValueError("give either 'file' or 'histogram'")
        return self

    @field_validator("histogram")
    @classmethod
    def _readable(cls, text: str | None) -> str | None:
        if text is not None:
            parse_histogram(text)
        return text

    def draw(self, rng: np.random.Generator, requests: int, base: Path) -> tuple[Int, Int]:
        """Return prompt and output lengths for each request; a relative ``file`` is found from ``base``."""
        if self.file is not None:
            prompt, output = read_length_pairs(base / self.file)
            rows = rng.integers(0, len(prompt), requests)
            return prompt[rows], output[rows]
        assert self.histogram is not None
        cells = parse_histogram(self.histogram)
        deck = np.repeat(cells[:, :4], cells[:, 4], axis=0)
        # Two streams and a row a request, so that a longer run begins with the shorter one.
        deal, inside = rng.spawn(2)
        rounds = [deal.permutation(len(deck)) for _ in range(-(-requests // len(deck)))]
        cell = deck[np.concatenate(rounds)[:requests]] if rounds else deck[:0]
        place = inside.random((requests, 2))
        return _log_uniform(place[:, 0], cell[:, 0], cell[:, 1]), _log_uniform(place[:, 1], cell[:, 2], cell[:, 3])


def parse_histogram(text: str) -> Int:
    """Return a histogram's cells as rows of five whole numbers; ValueError names the line that is no cell."""
    lines = text.splitlines()
    rows = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    try:
        cells = np.array(rows, dtype=np.int64)
    except (ValueError, OverflowError):
        cells = np.empty(0, np.int64)
    if cells.ndim == 2 and cells.shape[1] == 5:
        low, high = cells[:, [0, 2]], cells[:, [1, 3]]
        bad = (cells < 1).any(axis=1) | (high < low).any(axis=1)
        if cells[:, 4].sum() > _MOST_REQUESTS:
            raise ValueError(
                f"the cells hold more than {_MOST_REQUESTS} requests: divide all counts by the same number"
            )
        if not bad.any():
            return cells
        rows = [rows[int(np.argmax(bad))]]
    else:
        rows = [row for row in rows if len(row) != 5 or not all(cell.isdecimal() for cell in row)]
    shown = f"'{' '.join(rows[0])}' is no cell" if rows else "there are no cells"
    raise ValueError(f"{shown}; a line is five whole numbers: {HEADER}")


def make_histogram(prompt: Int, output: Int, cells_per_octave: float) -> str:
    """Return the histogram of pairs on log-spaced cells, each shrunk to the lengths that occur in it."""
    row = np.floor(np.log2(prompt) * cells_per_octave).astype(np.int64)
    column = np.floor(np.log2(output) * cells_per_octave).astype(np.int64)
    key = row * (int(column.max()) + 1) + column
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    sizes = np.diff(starts, append=len(key))
    bounds = [reduce.reduceat(lengths[order], starts)
              for lengths in (prompt, output) for reduce in (np.minimum, np.maximum)]  # fmt: skip
    lines = [" ".join(map(str, cell)) for cell in zip(*bounds, sizes, strict=True)]
    return "\n".join([f"# {HEADER}", *lines, ""])


def _log_uniform(place: Float, low: Int, high: Int) -> Int:
    values = np.floor(low * ((high + 1) / low) ** place).astype(np.int64)
    return np.clip(values, low, high)  # a power may round past the end
