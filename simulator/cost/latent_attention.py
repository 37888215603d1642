"""Multi-head latent attention (DeepSeek-V2, section 2.1) on one GPU: whole measured modules, or rooflines."""

import numpy as np
from numpy.typing import NDArray

from simulator.cost.attention_table import AttentionTable, filled
from simulator.cost.linear import LinearTimes
from simulator.cost.prefill_curve import PrefillCurve
from simulator.hardware.grid import Axis, Grid
from simulator.hardware.profile import Profile
from simulator.model import LatentAttention, Linear

Float = NDArray[np.float64]
# The measured module is DeepSeek-V3's: its ranks and head sizes.
_MEASURED = (1536, 512, 128, 64, 128)


class LatentTimes:
    """Seconds of one layer's latent attention with its projections, for ``heads`` heads on this GPU.

    In decode the up-projections are absorbed: every head reads the same latent of ``kv_lora_rank + rope_dim`` numbers
    a token, as multi-query attention would. Prompts are computed with keys and values unfolded.
    """

    def __init__(
        self,
        profile: Profile,
        library: str | None,
        linears: LinearTimes,
        projections: tuple[Linear, ...],
        attention: LatentAttention,
        split: int,
        kv_dtype: str,
        kv_bytes: float,
    ) -> None:
        self._profile = profile
        self._linears = linears
        self._projections = projections
        self._attention = attention
        self._heads = attention.heads // split
        self._kv_bytes = kv_bytes
        dtype = projections[0].dtype
        ranks = (
            attention.q_lora_rank,
            attention.kv_lora_rank,
            attention.nope_dim,
            attention.rope_dim,
            attention.value_dim,
        )
        decode = prompt = None
        if library is not None and ranks == _MEASURED:
            decode = self._table(library, "mla_decode", kv_dtype, dtype)
            prompt = self._table(library, "mla_prefill", kv_dtype, dtype)
        self._decode = None
        if decode is not None:
            axes = (Axis("batch", decode.batch), Axis("context", decode.length))
            self._decode = Grid("", "", axes, decode.seconds)
        self._prompt = None if prompt is None else PrefillCurve(prompt)
        self.knots = np.array([1.0, 2.0**20]) if decode is None else decode.length
        self.batches = 0.0 if decode is None else float(decode.batch[-1])
        self.contexts = 0.0 if decode is None else float(decode.length[-1])
        self.longest = 0.0 if prompt is None else float(prompt.length[-1])
        measured = f"measured module ({library})"
        self.notes = {"decode": measured if decode else "roofline", "prompt": measured if prompt else "roofline"}

    def decode(self, batch: Float, context: Float) -> Float:
        """Return seconds for ``batch`` requests that read ``context`` KV tokens each; arrays broadcast."""
        if self._decode is not None:
            batches, contexts = (axis.knots for axis in self._decode.axes)
            beyond = np.maximum(batch / batches[-1], 1.0) * np.maximum(context / contexts[-1], 1.0)
            return np.asarray(self._decode.at(batch, context) * beyond)
        attention = self._attention
        latent = attention.kv_lora_rank + attention.rope_dim
        read = batch * context
        flops = 2.0 * self._heads * (latent + attention.kv_lora_rank) * read
        kernel = self._profile.decode_attention.table(
            np.maximum(flops, 1.0), np.maximum(self._kv_bytes * latent * read, 1.0)
        )
        # A roofline rounds its ridge off; a straight line through its ends keeps a run of decodes a closed form.
        return np.asarray(kernel + self._project(batch))

    def prompts(self, tokens: int, pairs: float, read: int) -> float:
        """Return seconds for chunks of ``tokens`` tokens, ``pairs`` attended to and ``read`` KV tokens in all."""
        if self._prompt is not None:
            return self._prompt.seconds(tokens, pairs)
        attention = self._attention
        each = attention.nope_dim + attention.rope_dim + attention.value_dim
        flops = 2.0 * self._heads * each * pairs
        size = 2.0 * self._heads * each * (tokens + read)
        kernel = self._profile.prefill_attention.seconds(flops, size)
        return kernel + float(self._project(np.array([float(tokens)]))[0])

    def _project(self, tokens: Float) -> Float:
        return np.asarray(sum(self._linears.seconds(linear, tokens) for linear in self._projections))

    def _table(self, library: str, operator: str, kv_dtype: str, dtype: str) -> AttentionTable | None:
        grid = next(iter(self._profile.tables.find(library, operator, kv_dtype=kv_dtype, dtype=dtype)), None)
        if grid is None:
            return None
        batch, length = grid.axes[1].knots, grid.axes[2].knots
        seconds = grid.at(float(self._heads), batch[:, None], length[None, :])
        return filled(batch, length, seconds, quadratic=operator == "mla_prefill")
