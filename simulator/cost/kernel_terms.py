"""Terms of any transformer from tables of single kernels; a kernel without a table has the profile's roofline."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.core import Request
from simulator.cost.collectives import Collectives
from simulator.cost.decode_curve import distinct
from simulator.cost.experts import ExpertTimes, Untuned
from simulator.cost.latent_attention import LatentTimes
from simulator.cost.layer_attention import LayerAttention, shape_on_gpu
from simulator.cost.linear import LinearTimes
from simulator.cost.parallelism import Parallelism
from simulator.cost.prefill_curve import pairs_of
from simulator.cost.small_operators import small_operator
from simulator.cost.terms import Seen
from simulator.hardware.profile import Profile
from simulator.model import KV_BYTES, Experts, LatentAttention, LayerKind, Linear, Transformer

Float = NDArray[np.float64]
_ACTIVATION = 2  # bytes a number of activations takes between operators
# Bytes a token that GPUs sum for a norm across all heads: the variances of queries and keys, in 32 bit. vLLM sums both
# in one all-reduce a layer (MiniMaxText01RMSNormTP.forward_qk, January 2026; in two before).
_VARIANCES = 8
# The sampler: logits to 32 bit, their largest, its index; measured in the layer profiles of vLLM 0.19 on three GPUs.
_SAMPLER_LAUNCH_S = 10e-6
_SAMPLER_BYTES_A_LOGIT = 10


class _Kind(NamedTuple):
    """One kind of layer on one GPU: ``linears`` are those that attention does not include."""

    kind: LayerKind
    attention: LayerAttention | LatentTimes
    linears: tuple[Linear, ...]
    window: int


class KernelTerms:
    """One GPU's share of a model, with the kernels of ``library`` (None: rooflines alone); see ``Terms``.

    ``captured``: most tokens of an iteration that replays a CUDA graph; in these, kernels whose table timed their
    launches take the time of the fastest of ``captured_libraries``. ``untuned``: what experts take more.
    """

    def __init__(
        self,
        model: Transformer,
        profile: Profile,
        parallel: Parallelism,
        library: str | None,
        *,
        untuned: Untuned | None = None,
        captured: int = 0,
        captured_libraries: Sequence[str] = (),
    ) -> None:
        self._model = model
        self._profile = profile
        self._parallel = parallel
        self._captured = captured
        self._linears = LinearTimes(profile, library, captured_libraries)
        self._experts = ExpertTimes(profile, library, parallel.tensor // parallel.expert, parallel.expert, untuned)
        self._collectives = Collectives(profile, library, parallel.tensor)
        self._kinds = [self._on_gpu(kind, library) for kind in model.kinds]
        self._whole: dict[int, float] = {}  # seconds of attention of a prompt by its tokens
        self.knots = distinct(np.concatenate([each.attention.knots for each in self._kinds]))

    @property
    def adds_up(self) -> bool:
        """Tell that one iteration's prompts and decodes take the sum of both, as measured on Hopper and Ampere."""
        return True

    @property
    def notes(self) -> dict[str, str]:
        """What each term rests on."""
        found = {"small operators": "stated efficiency", "collectives": self._collectives.note, **self._linears.notes}
        for index, each in enumerate(self._kinds):
            suffix = "" if len(self._kinds) == 1 else f" (layer kind {index})"
            found |= {f"{name} attention{suffix}": note for name, note in each.attention.notes.items()}
        if self._experts.note:
            found["experts"] = self._experts.note
        return found

    def dense(self, tokens: Float) -> Float:
        """Return seconds of everything that depends on the number of tokens alone."""
        layers = sum(each.kind.count * self._layer(each, tokens) for each in self._kinds)
        # The embedding is split by vocabulary, and its rows are summed over the GPUs.
        width = float(_ACTIVATION * self._model.hidden)
        once = small_operator(self._profile, 2 * width, tokens) + self._collectives.allreduce(width * tokens)
        return np.asarray(layers + once)

    def dense_with_prompts(self, tokens: Float) -> Float:
        """Return the same: on one group of GPUs it is no matter whose tokens they are."""
        return self.dense(tokens)

    def sample(self, requests: Float) -> Float:
        """Return seconds of the output head and the sampler for so many requests."""
        model, split = self._model, self._parallel.tensor
        head = Linear("head", model.hidden, model.vocab // split, model.precision.head)
        logits = float(model.vocab * _ACTIVATION)
        # Logits are gathered on all GPUs: half of what summing them would move.
        gathered = 0.5 * self._collectives.allreduce(logits * requests)
        sampler = small_operator(self._profile, float(_SAMPLER_BYTES_A_LOGIT * model.vocab), requests)
        return np.asarray(self._linears.seconds(head, requests) + gathered + sampler + _SAMPLER_LAUNCH_S)

    def decode(self, batch: Float, context: Float) -> Float:
        """Return seconds of attention of ``batch`` decodes that read ``context`` KV tokens each; arrays broadcast."""
        return np.asarray(sum(each.kind.count * each.attention.decode(batch, context) for each in self._kinds))

    def skew(self, batch: int) -> float:
        """Return 0: attention kernels that spread one long context over the GPU do not wait for it."""
        return 0.0

    def prompts(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: float, longest: float
    ) -> float:
        """Return seconds of the chunks' attention; that of decodes in the same iteration adds to it."""
        if len(chunks) > 1 or chunks[0][0].computed:
            return self._attend(chunks, tokens)
        # Most iterations with a prompt have one, computed whole: its time goes with its length alone.
        seconds = self._whole.get(tokens)
        if seconds is None:
            seconds = self._whole[tokens] = self._attend(chunks, tokens)
        return seconds

    def _attend(self, chunks: Sequence[tuple[Request, int]], tokens: int) -> float:
        read = sum(request.computed + new for request, new in chunks)
        seconds = 0.0
        for each in self._kinds:
            pairs = 0.0
            for request, new in chunks:
                pairs += pairs_of(new, request.computed, each.window)
            seconds += each.kind.count * each.attention.prompts(tokens, pairs, read)
        return seconds

    def beyond(self, seen: Seen) -> list[str]:
        """Return where a run left what was measured, one line each."""
        found = []
        for each in self._kinds:
            attention, context = each.attention, 0 if each.window else seen.context
            found += _more("decode attention: batch", seen.requests, attention.batches)
            found += _more("decode attention: context", context, attention.contexts)
            found += _more("prompt attention: prompt", context, attention.longest)
        found += _more("matrix products: tokens", seen.tokens, self._linears.most_tokens)
        found += _more("experts: tokens", seen.tokens, self._experts.most_tokens)
        size = _ACTIVATION * self._model.hidden * seen.tokens
        found += _more("all-reduce: bytes", size, self._collectives.most_bytes)
        return list(dict.fromkeys(found))

    def _on_gpu(self, kind: LayerKind, library: str | None) -> _Kind:
        model, split = self._model, self._parallel.tensor
        linears = model.linears(kind, split)
        kv_dtype, kv_bytes = model.precision.kv, KV_BYTES[model.precision.kv]
        if isinstance(kind.attention, LatentAttention):
            mlp = ("mlp_up", "mlp_down", "router", "shared_up", "shared_down")
            projections = tuple(linear for linear in linears if linear.name not in mlp)
            rest = tuple(linear for linear in linears if linear.name in mlp)
            latent = LatentTimes(
                self._profile, library, self._linears, projections, kind.attention, split, kv_dtype, kv_bytes
            )
            return _Kind(kind, latent, rest, 0)
        a = kind.attention
        shape = shape_on_gpu(a.heads, a.kv_heads, a.head_dim, a.window, kv_dtype, split)
        return _Kind(kind, LayerAttention(self._profile, library, shape, kv_bytes), linears, a.window)

    def _layer(self, each: _Kind, tokens: Float) -> Float:
        """Return seconds of one layer but for its attention."""
        profile, model, kind = self._profile, self._model, each.kind
        seconds = np.zeros_like(tokens)
        for linear in each.linears:
            seconds = seconds + self._linears.seconds(linear, tokens, self._captured)
        for numbers in self._small(kind):
            seconds = seconds + small_operator(profile, float(_ACTIVATION * numbers), tokens)
        if isinstance(kind.mlp, Experts):
            dtype = model.precision_of(kind).experts
            seconds = seconds + self._experts.seconds(model.hidden, kind.mlp, dtype, tokens)
        sums = 1 if kind.parallel else 2
        if model.norm_across_heads:
            seconds = seconds + self._collectives.allreduce(float(_VARIANCES) * tokens)
        return np.asarray(seconds + sums * self._collectives.allreduce(float(_ACTIVATION * model.hidden) * tokens))

    def _small(self, kind: LayerKind) -> list[int]:
        """Return the numbers a token that each small operator of a layer reads and writes."""
        model, split = self._model, self._parallel.tensor
        numbers = [4 * model.hidden] * (1 if kind.parallel else 2)  # residual add and norm
        if not isinstance(kind.attention, LatentAttention):
            rotated = (
                2 * (kind.attention.heads // split + kind.attention.kv_heads_each(split)) * kind.attention.head_dim
            )
            numbers += [rotated] * (2 if model.qk_norm else 1)
            if model.norm_across_heads and split > 1:
                numbers.append(rotated // 2)  # the sums of squares are read off before they are summed over the GPUs
        ffn = kind.mlp.shared_ffn if isinstance(kind.mlp, Experts) else kind.mlp.ffn
        if ffn:
            numbers.append((3 if kind.mlp.gated else 2) * ffn // split)
        return numbers


def _more(what: str, seen: float, measured: float) -> list[str]:
    return [f"{what} up to {seen:.0f}, measured to {measured:.0f}"] if measured and seen > measured else []
