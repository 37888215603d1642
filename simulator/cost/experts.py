"""Mixture-of-experts layers: routed experts by number of tokens, from measured tables or an expected roofline."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from simulator.cost.linear import activation_bytes, gain
from simulator.hardware.grid import Grid
from simulator.hardware.profile import Profile
from simulator.model import WEIGHT_BYTES, Dtype, Experts

Float = NDArray[np.float64]
# How unevenly tokens choose among many experts: the tables come balanced and with two power laws. Few large ones
# are chosen nearly evenly (Mixtral, arXiv 2401.04088, section 5).
_SKEWED, _EVEN, _FEW = "power_law_1.2", "balanced", 16
# What the tables call a format; of several the fastest, as engines choose. The one for fp8 by tensor timed a kernel
# three times slower than 16 bit, which no engine would take. On Blackwell TensorRT-LLM multiplies mxfp4 by mxfp8, which
# its table has beside the slower one.
_TABLES = {"mxfp4": ("w4a16_mxfp4", "w4a8_mxfp4_mxfp8"), "w4a16": ("int4_wo",), "fp8": ("fp8", "fp8_block")}
_TUNED_TYPES = ("bfloat16", "fp8")


class Untuned(NamedTuple):
    """What an engine's experts take, as a factor, where their shape is not ``tuned``: (experts, columns) on a GPU.

    That is about Triton's kernels in 16 bit and in fp8 by tensor; other formats have kernels of their own.
    """

    factor: float = 1.0
    tuned: frozenset[tuple[int, int]] = frozenset()


class ExpertTimes:
    """Seconds of the routed experts of one layer on one GPU, by number of tokens in the iteration."""

    def __init__(
        self,
        profile: Profile,
        library: str | None,
        tensor_parallel: int,
        expert_parallel: int,
        untuned: Untuned | None = None,
    ) -> None:
        self._profile = profile
        self._library = library
        self._tp = tensor_parallel
        self._ep = expert_parallel
        self._untuned = untuned or Untuned()
        self.note = ""
        self.most_tokens = 0.0  # that the table used here was measured with

    def seconds(self, hidden: int, experts: Experts, dtype: Dtype, tokens: Float) -> Float:
        """Return seconds for each number of tokens: the products, the routing's permutation, the activation."""
        found = [self._find(hidden, experts, table) for table in _TABLES.get(dtype, (dtype,))]
        measured = [(grid, note) for grid, note in found if grid is not None]
        if not measured:
            only = "" if gain(self._profile, dtype) else f" ({dtype} weights, 16-bit products)"
            self.note = f"roofline over the experts expected to be chosen{only}"
            return self._roofline(hidden, experts, dtype, tokens)
        self.note = f"measured ({measured[0][0].library}){measured[0][1]}"
        self.most_tokens = float(min(grid.axes[0].knots[-1] for grid, _ in measured))
        grids, read = [grid for grid, _ in measured], np.ones(1)
        if all(grid.attributes["distribution"] == _EVEN for grid in grids):
            # Spread evenly, as few tokens as experts reach all of them; by chance they do not.
            read = _read(tokens, experts, self._ep)
            tokens = np.maximum(tokens, experts.count / experts.top_k)
        # A GPU that holds more of every expert does all that this one does: where it was measured faster, a slow kernel
        # was timed here (TensorRT-LLM's for Llama 4 Scout on two GPUs took four times as long as on one).
        seconds = _fastest(grids, tokens)
        if fuller := self._fuller(hidden, experts, dtype):
            most = _fastest(fuller, tokens)
            self.note += "; slow ones as a larger share" if (most < seconds).any() else ""
            seconds = np.fmin(seconds, most)
        seconds *= read
        shape = experts.count // self._ep, experts.ffn // self._tp
        if self._untuned.factor == 1 or dtype not in _TUNED_TYPES or shape in self._untuned.tuned:
            return seconds
        self.note += f"; {self._untuned.factor:g} times as long: the engine has no tuned kernel for {shape[0]} of "
        self.note += f"{shape[1]} columns"
        return self._untuned.factor * seconds

    def _fuller(self, hidden: int, experts: Experts, dtype: Dtype) -> list[Grid]:
        """Return what was measured with each expert split over fewer GPUs."""
        found, split = [], self._tp // 2
        while split:
            other = ExpertTimes(self._profile, self._library, split, self._ep)
            each = [other._find(hidden, experts, table) for table in _TABLES.get(dtype, (dtype,))]
            found += [grid for grid, note in each if grid is not None and not note]
            split //= 2
        return found

    def _find(self, hidden: int, experts: Experts, table: str) -> tuple[Grid | None, str]:
        if self._library is None:
            return None, ""
        same = list(
            self._profile.tables.find(
                self._library,
                "moe",
                dtype=table,
                hidden=hidden,
                inter=experts.ffn,
                topk=experts.top_k,
                experts=experts.count,
            )
        )
        distribution = _EVEN if experts.count <= _FEW else _SKEWED
        exact = _split(same, self._tp, self._ep, distribution)
        if exact is not None:
            return exact, ""
        # An expert's columns split over more GPUs than measured: the same number of GPUs holding whole experts reads as
        # many weights each.
        whole = _split(same, 1, self._tp * self._ep, distribution)
        if whole is not None:
            return whole, f", {self._tp * self._ep} GPUs as expert parallel"
        return None, ""

    def _roofline(self, hidden: int, experts: Experts, dtype: Dtype, tokens: Float) -> Float:
        matrices = 3 if experts.gated else 2
        weights = matrices * hidden * experts.ffn / self._tp
        held = experts.count / self._ep
        chosen = held * (1 - (1 - experts.top_k / experts.count) ** tokens)
        rows = tokens * experts.top_k / self._ep
        flops = 2 * rows * weights
        # Both products read activations in the experts' type and write them in 16 bit.
        numbers = rows * (hidden + experts.ffn / self._tp)
        moved = WEIGHT_BYTES[dtype] * chosen * weights + (activation_bytes(self._profile, dtype) + 2.0) * numbers
        own, line = self._profile.roofline(dtype), self._profile.gemm
        if own is None:
            return line.table(flops / (gain(self._profile, dtype) or 1.0), moved)
        # Rates of the type's own products; their launch may be one that experts do not have (vLLM's fp8_block).
        return own.model_copy(update={"launch": line.launch}).table(flops, moved)


def _read(tokens: Float, experts: Experts, gpus: int) -> Float:
    """Return the share of its experts that the GPU with most to read expects to, where tokens choose at random."""
    held = experts.count // gpus
    chosen = 1 - (1 - experts.top_k / experts.count) ** tokens
    fewer = binom.cdf(np.arange(held), held, np.asarray(chosen)[..., None])  # at most 0, 1, ... of a GPU's experts
    return np.asarray((1 - fewer**gpus).sum(axis=-1) / held)


def _fastest(grids: Iterable[Grid], tokens: Float) -> Float:
    times = [grid.at(tokens) * np.maximum(tokens / grid.axes[0].knots[-1], 1.0) for grid in grids]
    return np.asarray(np.fmin.reduce(times))


def _split(grids: Iterable[Grid], tensor_parallel: int, expert_parallel: int, distribution: str) -> Grid | None:
    """Return the grid of this split with that distribution, or with any other where that was not measured."""
    fitting = [g for g in grids if g.attributes["tp"] == tensor_parallel and g.attributes["ep"] == expert_parallel]
    wanted = [grid for grid in fitting if grid.attributes["distribution"] == distribution]
    return next(iter(wanted or fitting), None)
