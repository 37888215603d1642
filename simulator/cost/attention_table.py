"""Measured attention kernels for the heads of one model on one GPU, scaled from the nearest shape that was measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.tables import Attribute, Tables

Float = NDArray[np.float64]


@dataclass(frozen=True)
class AttentionShape:
    """What of a layer's attention runs on one GPU; ``window`` is 0 without one."""

    heads: int
    kv_heads: int
    head_dim: int
    window: int
    kv_dtype: str


@dataclass(frozen=True)
class AttentionTable:
    """Seconds of one layer's attention over (batch, length); holes are filled, lengths sorted.

    ``batch`` and ``length`` are the knots; ``seconds`` has shape (batches, lengths). ``note`` says what was scaled,
    ``window`` in which window the prompts of a table were computed.
    """

    batch: Float
    length: Float
    seconds: Float
    note: str
    window: int = 0


def find_attention(tables: Tables, library: str, operator: str, shape: AttentionShape) -> AttentionTable | None:
    """Return the table for a shape, from the nearest measured one; None when the library measured nothing like it.

    Tried in this order: the shape itself; its KV heads in groups (32 of 32 heads over a batch of 1 are 8 of 8 over a
    batch of 4: each head's work is its own); heads between two measured numbers; another head size, by the ratio of
    bytes; no window: decodes with the context cut at it, prompts for as many pairs of tokens as it leaves.
    """
    measured = [row for row in tables.measured(library, operator) if row["kv_dtype"] == shape.kv_dtype]
    if operator == "prefill_attention":
        # Engines compute prompt attention in 16 bit unless only something else was measured.
        sixteen = [row for row in measured if row["attn_dtype"] == "bfloat16"]
        measured = sixteen or measured
    return _Search(tables, library, operator, measured).with_window(shape)


class _Search:
    def __init__(self, tables: Tables, library: str, operator: str, measured: list[Mapping[str, Attribute]]) -> None:
        self._tables = tables
        self._library = library
        self._operator = operator
        self._measured = measured

    def with_window(self, shape: AttentionShape) -> AttentionTable | None:
        same = [row for row in self._measured if row["window"] == shape.window]
        if same and (found := self._with_dim(same, shape)) is not None:
            return replace(found, window=shape.window)
        if not shape.window:
            return None
        full = self.with_window(replace(shape, window=0))
        if full is None:
            return None
        if self._operator == "prefill_attention":
            return replace(full, note=_and(full.note, f"window {shape.window} as shorter prompts without one"))
        length = np.union1d(full.length, [shape.window])
        seconds = np.array([np.interp(np.minimum(length, shape.window), full.length, row) for row in full.seconds])
        return replace(
            full, length=length, seconds=seconds, note=_and(full.note, f"window {shape.window} as a context cut there")
        )

    def _with_dim(self, rows: list[Mapping[str, Attribute]], shape: AttentionShape) -> AttentionTable | None:
        dims = sorted({int(row["head_dim"]) for row in rows}, key=lambda dim: abs(np.log(dim / shape.head_dim)))
        for dim in dims:
            found = self._with_heads([row for row in rows if row["head_dim"] == dim], shape)
            if found is not None:
                if dim == shape.head_dim:
                    return found
                note = _and(found.note, f"head size {shape.head_dim} from {dim}")
                return replace(found, seconds=found.seconds * shape.head_dim / dim, note=note)
        return None

    def _with_heads(self, rows: list[Mapping[str, Attribute]], shape: AttentionShape) -> AttentionTable | None:
        by_heads = {(int(row["heads"]), int(row["kv_heads"])): row for row in rows}
        for parts in [parts for parts in range(1, shape.kv_heads + 1) if shape.kv_heads % parts == 0]:
            found = self._between(by_heads, shape.heads // parts, shape.kv_heads // parts)
            if found is not None:
                if parts == 1:
                    return found
                note = _and(found.note, f"{shape.kv_heads} KV heads as {parts} times {shape.kv_heads // parts}")
                return replace(found, batch=found.batch / parts, note=note)
        return None

    def _between(
        self, by_heads: dict[tuple[int, int], Mapping[str, Attribute]], heads: int, kv_heads: int
    ) -> AttentionTable | None:
        if (heads, kv_heads) in by_heads:
            return self._read(by_heads[heads, kv_heads])
        known = sorted(h for h, kv in by_heads if kv == kv_heads)
        below, above = [h for h in known if h < heads], [h for h in known if h > heads]
        if not below or not above:
            return None
        low, high = self._read(by_heads[below[-1], kv_heads]), self._read(by_heads[above[0], kv_heads])
        if low is None or high is None:
            return None
        batch, length = np.intersect1d(low.batch, high.batch), np.intersect1d(low.length, high.length)
        share = np.log(heads / below[-1]) / np.log(above[0] / below[-1])
        a, b = (t.seconds[np.ix_(np.isin(t.batch, batch), np.isin(t.length, length))] for t in (low, high))
        seconds = np.exp((1 - share) * np.log(a) + share * np.log(b))
        return AttentionTable(batch, length, seconds, f"{heads} heads between {below[-1]} and {above[0]}")

    def _read(self, row: Mapping[str, Attribute]) -> AttentionTable | None:
        grid = next(self._tables.find(self._library, self._operator, **row))
        quadratic = self._operator == "prefill_attention"
        return filled(grid.axes[0].knots, grid.axes[1].knots, grid.seconds, quadratic=quadratic)


def filled(batch: Float, length: Float, measured: Float, *, quadratic: bool) -> AttentionTable | None:
    """Fill a table's holes along length; None when no batch was measured at two lengths.

    Large batches of long sequences did not fit in memory when they were measured. Beyond a batch's last measured length
    time grows as that of the next smaller batch, times the ratio of both; the smallest's with the tokens read, or, if
    ``quadratic``, with their square. Batches without two lengths are left out.
    """
    keep = np.isfinite(measured).sum(axis=1) >= 2
    if not keep.any():
        return None
    batch, seconds = batch[keep], measured[keep].astype(np.float64)
    for index, row in enumerate(seconds):
        known = np.flatnonzero(np.isfinite(row))
        last = known[-1]
        if index:
            # Its own last two lengths are too near its launch to tell what a token costs.
            smaller = seconds[index - 1]
            growth = batch[index] / batch[index - 1] * (smaller - smaller[last])
        else:
            work = length**2 if quadratic else length
            growth = (row[last] - row[known[-2]]) / (work[last] - work[known[-2]]) * (work - work[last])
        between = np.interp(length, length[known], row[known])
        beyond = np.arange(len(length)) > last
        # More context never takes less time: where a table says so it is noise, and no run of decodes may get faster.
        row[:] = np.maximum.accumulate(np.where(beyond, between + growth, between))
    return AttentionTable(batch, length, seconds, "")


def _and(note: str, more: str) -> str:
    return f"{note}; {more}" if note else more
