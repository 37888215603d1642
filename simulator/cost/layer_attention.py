"""Attention of one kind of layer on one GPU: decode and prompt, measured or by roofline."""

import numpy as np
from numpy.typing import NDArray

from simulator.cost.attention_table import AttentionShape, AttentionTable, find_attention
from simulator.cost.prefill_curve import PrefillCurve
from simulator.hardware.grid import Axis, Grid
from simulator.hardware.profile import Profile

Float = NDArray[np.float64]
# Where a roofline curve is read off: it has no knots of its own but for the window.
_ROOFLINE_KNOTS = np.array([1.0, 2.0**20])


class LayerAttention:
    """Seconds of one layer's attention.

    ``knots``: contexts between which decode is straight; ``batches``, ``contexts`` and ``longest`` prompt: the most
    that was measured (0: a roofline). ``notes`` says what decode and prompt rest on.
    """

    def __init__(self, profile: Profile, library: str | None, shape: AttentionShape, kv_bytes: float) -> None:
        self._profile = profile
        self._shape = shape
        self._kv_bytes = kv_bytes
        decode = prompt = None
        if library is not None:
            decode = find_attention(profile.tables, library, "decode_attention", shape)
            prompt = find_attention(profile.tables, library, "prefill_attention", shape)
        self._decode = None if decode is None else _as_grid(decode)
        self._prompt = None if prompt is None else PrefillCurve(prompt)
        self.knots = _ROOFLINE_KNOTS if decode is None else decode.length
        if shape.window:
            self.knots = np.union1d(self.knots, [shape.window])
        self.batches = 0.0 if decode is None else float(decode.batch[-1])
        self.contexts = 0.0 if decode is None else float(decode.length[-1])
        self.longest = 0.0 if prompt is None else float(prompt.length[-1])
        self.notes = {"decode": _note(decode, library), "prompt": _note(prompt, library)}

    def decode(self, batch: Float, context: Float) -> Float:
        """Return seconds for ``batch`` requests that read ``context`` KV tokens each; arrays broadcast."""
        if self._decode is None:
            return self._decode_roofline(batch, context)
        batches, contexts = (axis.knots for axis in self._decode.axes)
        seconds = self._decode.at(batch, context)
        if self._shape.window:
            # Beyond the window a longer context costs nothing, also beyond the table.
            return np.asarray(seconds * np.maximum(batch / batches[-1], 1.0))
        return np.asarray(seconds * np.maximum(batch / batches[-1], 1.0) * np.maximum(context / contexts[-1], 1.0))

    def prompts(self, tokens: int, pairs: float, read: int) -> float:
        """Return seconds for chunks of ``tokens`` tokens, ``pairs`` attended to and ``read`` KV tokens in all."""
        if self._prompt is not None:
            return self._prompt.seconds(tokens, pairs)
        shape = self._shape
        size = 2 * shape.head_dim * (2.0 * shape.heads * tokens + self._kv_bytes * shape.kv_heads * read)
        return self._profile.prefill_attention.seconds(4.0 * shape.heads * shape.head_dim * pairs, size)

    def _decode_roofline(self, batch: Float, context: Float) -> Float:
        shape = self._shape
        if shape.window:
            context = np.minimum(context, shape.window)
        read = batch * context
        roofline = self._profile.decode_attention
        # Straight in what is read, as the slope at a million tokens: rounding the ridge off is for matrix products.
        far = 1e6
        flops, size = 4.0 * shape.heads * shape.head_dim, 2.0 * self._kv_bytes * shape.kv_heads * shape.head_dim
        slope = (roofline.seconds(flops * far, size * far) - roofline.launch) / far
        return np.asarray(roofline.launch + slope * read)


def _as_grid(table: AttentionTable) -> Grid:
    return Grid("", "", (Axis("batch", table.batch), Axis("context", table.length)), table.seconds)


def _note(table: AttentionTable | None, library: str | None) -> str:
    if table is None:
        return "roofline"
    return f"measured ({library})" + (f": {table.note}" if table.note else "")


def shape_on_gpu(heads: int, kv_heads: int, head_dim: int, window: int, kv_dtype: str, split: int) -> AttentionShape:
    """Return what one of ``split`` GPUs computes; KV heads are replicated when there are fewer than GPUs."""
    return AttentionShape(heads // split, max(1, kv_heads // split), head_dim, window, kv_dtype)
