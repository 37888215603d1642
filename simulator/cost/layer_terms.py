"""Terms of a model whose layers were measured whole inside an engine: dense by tokens, attention over four axes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simulator.core import InputError, Request
from simulator.cost.collectives import Collectives
from simulator.cost.experts import ExpertTimes
from simulator.cost.parallelism import Parallelism
from simulator.cost.terms import Seen
from simulator.hardware.grid import Grid
from simulator.hardware.profile import Profile
from simulator.hardware.tables import Tables
from simulator.model import Attention, Experts, LayerKind, Transformer, load_model

Float = NDArray[np.float64]
_ONCE = frozenset({"embedding", "final_layernorm"})  # once an iteration, not in each layer
_TWICE = frozenset({"layernorm"})  # before attention and before the MLP


class LayerTerms:
    """One GPU's share of a model from the layer profile of that model at that tensor parallelism; see ``Terms``.

    Attention of prompt chunks and decodes in one iteration is looked up together: the kernels of consumer GPUs take up
    to twice the sum of both. Experts that were not measured at this split take the time of the kernels of library
    ``kernels``.
    """

    def __init__(
        self,
        model: Transformer,
        profile: Profile,
        parallel: Parallelism,
        library: str,
        measured: str,
        kernels: str | None = None,
    ) -> None:
        self._model = model
        self._layers = model.layers
        tables, split = profile.tables, parallel.tensor
        self._collectives = Collectives(profile, None, split)
        self._dense = [
            (
                grid,
                1
                if grid.attributes["part"] in _ONCE
                else model.layers * (2 if grid.attributes["part"] in _TWICE else 1),
            )
            for grid in tables.find(library, "layer", model=measured, tp=split)
        ]
        self._sample = list(tables.find(library, "layer_sequence", model=measured, tp=split))
        self._attention = next(iter(tables.find(library, "layer_attention", model=measured, tp=split)))
        experts = next(iter(tables.find(library, "layer_moe", model=measured, tp=split)), None)
        self._experts = None if experts is None else _without_holes(experts)
        self._kernels = ExpertTimes(profile, kernels, split, 1)
        self._profile = profile
        attention = model.kinds[0].attention
        self._kv_heads = attention.kv_heads_each(split) if isinstance(attention, Attention) else 1
        self.knots = self._attention.axis("context").knots
        self.knots = self.knots[self.knots > 0]
        self.notes = {
            "layers": f"measured ({library}, {measured}, tensor parallel {split})",
            "collectives": self._collectives.note,
        }

    @property
    def adds_up(self) -> bool:
        """Tell that prompts and decodes were measured together."""
        return False

    def dense(self, tokens: Float) -> Float:
        """Return seconds of everything that depends on the number of tokens alone."""
        seconds = np.asarray(sum(count * _read(grid, tokens) for grid, count in self._dense))
        for kind in self._model.kinds:
            if isinstance(kind.mlp, Experts):
                seconds = seconds + kind.count * self._routed(kind, kind.mlp, tokens)
        size = 2.0 * self._model.hidden * tokens
        return np.asarray(seconds + (2 * self._layers + 1) * self._collectives.allreduce(size))

    def dense_with_prompts(self, tokens: Float) -> Float:
        """Return the same: on one group of GPUs it is no matter whose tokens they are."""
        return self.dense(tokens)

    def sample(self, requests: Float) -> Float:
        """Return seconds of the output head and the sampler for so many requests."""
        gathered = 0.5 * self._collectives.allreduce(2.0 * self._model.vocab * requests)
        return np.asarray(sum(_read(grid, requests) for grid in self._sample) + gathered)

    def decode(self, batch: Float, context: Float) -> Float:
        """Return seconds of attention of ``batch`` decodes that read ``context`` KV tokens each; arrays broadcast."""
        grid = self._attention
        most, longest = grid.axis("decodes").knots[-1], grid.axis("context").knots[-1]
        beyond = np.maximum(batch / most, 1.0) * np.maximum(context / longest, 1.0)
        return np.asarray(self._layers * grid.at(0.0, 0.0, batch, context) * beyond)

    def skew(self, batch: int) -> float:
        """Return how much of a batch's attention waits for its longest context, as measured; 0 if it was not."""
        shares = self._profile.skew_alpha
        if not shares or self._profile.sms is None:
            return 0.0
        x = batch * self._kv_heads / (2 * self._profile.sms)
        return float(max(0.0, np.interp(x, [share.x for share in shares], [share.mean for share in shares])))

    def prompts(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: float, longest: float
    ) -> float:
        """Return seconds of all attention in an iteration with prompt chunks, that of its decodes included.

        Several chunks are one of as many tokens, after as many cached ones as make the causal area the same.
        """
        pairs = sum(new * (request.computed + new / 2) for request, new in chunks)
        past = max(0.0, pairs / tokens - tokens / 2)
        even = self._mixed(tokens, past, requests, context)
        share = self.skew(requests) if requests > 1 else 0.0
        if share <= 0 or longest <= context:
            return even
        return even + share * max(0.0, self._mixed(tokens, past, requests, longest) - even)

    def beyond(self, seen: Seen) -> list[str]:
        """Return where a run left what was measured, one line each."""
        found = []
        for what, asked, axis in (("batches", seen.requests, "decodes"), ("contexts", seen.context, "context")):
            most = self._attention.axis(axis).knots[-1]
            if asked > most:
                found.append(f"attention: {what} to {asked}, measured to {most:.0f}")
        most = min(grid.axes[0].knots[-1] for grid, _ in self._dense)
        if seen.tokens > most:
            found.append(f"layers: {seen.tokens} tokens, measured to {most:.0f}")
        return found

    def _mixed(self, tokens: int, past: float, requests: int, context: float) -> float:
        """Return seconds of attention; a chunk longer than measured is several of the longest, one after the other."""
        grid = self._attention
        pieces = max(tokens / grid.axis("new").knots[-1], 1.0)
        new = tokens / pieces
        before = past + (tokens - new) / 2
        # Beyond the table time grows with the cached tokens read, and that of the decodes as theirs alone does.
        further = max(before / grid.axis("past").knots[-1], 1.0)
        seconds = further * float(grid.at(new, before, requests, context))
        if pieces > 1:
            seconds += further * (pieces - 1) * float(grid.at(new, before, 0.0, 0.0))
        if requests > grid.axis("decodes").knots[-1] or context > grid.axis("context").knots[-1]:
            asked = self.decode(np.array(float(requests)), np.array(context))
            seconds += float(asked) / self._layers - float(grid.at(0.0, 0.0, requests, context))
        return float(self._layers * seconds)

    def _routed(self, kind: LayerKind, mlp: Experts, tokens: Float) -> Float:
        """Return seconds of a layer's experts: for each number of tokens, those expected to be chosen."""
        grid = self._experts
        if grid is None:
            dtype = self._model.precision_of(kind).experts
            seconds = self._kernels.seconds(self._model.hidden, mlp, dtype, tokens)
            self.notes["experts"] = self._kernels.note
            return seconds
        chosen = mlp.count * (1 - (1 - mlp.top_k / mlp.count) ** tokens)
        return np.asarray(grid.at(tokens, chosen) * np.maximum(tokens / grid.axes[0].knots[-1], 1.0))


def measured_layers(tables: Tables, model: Transformer, tensor_parallel: int) -> tuple[str, str] | None:
    """Return (library, the model's name there) of a layer profile of a model, None if it was not measured.

    A profile is of a model when the name it was measured under is the model's, or an alias of the same shape.
    """
    for library in tables.libraries():
        for row in tables.measured(library, "layer_attention"):
            name = str(row["model"])
            if row["tp"] == tensor_parallel and _same_shape(name, model):
                return library, name
    return None


def _same_shape(name: str, model: Transformer) -> bool:
    try:
        other = load_model(name)
    except InputError:
        return False
    return (other.kinds, other.hidden, other.vocab, other.precision) == (
        model.kinds,
        model.hidden,
        model.vocab,
        replace(model.precision, kv=other.precision.kv),
    )


def _without_holes(experts: Grid) -> Grid:
    """Return times of experts by (tokens, experts chosen) where few tokens choose more experts than they can.

    Interpolation needs those cells; reading as many weights takes as long for the next larger number of tokens.
    """
    seconds = experts.seconds.copy()
    for row in range(len(seconds) - 2, -1, -1):
        seconds[row] = np.where(np.isfinite(seconds[row]), seconds[row], seconds[row + 1])
    return replace(experts, seconds=seconds)


def _read(grid: Grid, at: Float) -> Float:
    return np.asarray(grid.at(at) * np.maximum(at / grid.axes[0].knots[-1], 1.0))
