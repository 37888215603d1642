"""Matrix products of a layer by number of tokens: from measured tables where they fit, else from the roofline."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.grid import Grid
from simulator.hardware.profile import Profile
from simulator.model import Linear

Float = NDArray[np.float64]
# Libraries whose fp8 products were timed together with the search for their input's scale.
_TIMED_WITH_SCALING = ("trtllm-",)
_ACTIVATION_BYTES = {"fp8": 1.0, "fp8_block": 1.0, "int8": 1.0, "nvfp4": 0.5625}
_UNITS = {"fp8": "fp8", "fp8_block": "fp8", "int8": "int8", "nvfp4": "nvfp4"}  # what multiplies this type
_USUAL_GAIN = {"fp8": 2.0, "int8": 2.0}  # over 16 bit on the same tensor cores
# Up to so many tokens a product is one tile high, and takes what its weights take to read. vLLM's fp8 products on
# Blackwell took 15 us longer for one token than for two in five sizes of six, on a B200 also for others at random
# (aiconfigurator-core 0.12.0, whose notes on other tables speak of the scheduler's one-sided spikes): what takes half
# as long again as more tokens in the same tile was not timed well. On Hopper one cell in 11,000 did.
_TILE, _SLOW = 128.0, 1.5


class LinearTimes:
    """Seconds of matrix products on one GPU with the kernels of one library.

    ``notes`` says, for each that was asked for, what its time rests on.
    """

    def __init__(self, profile: Profile, library: str | None, captured_libraries: Sequence[str] = ()) -> None:
        self._profile = profile
        self._library = library
        self._captured = captured_libraries
        self._tables: dict[tuple[str, str], Grid | None] = {}
        self._outliers: dict[str, Grid] = {}  # by library, 2 where the table of fp8 is not as measured, else 1
        self.notes: dict[str, str] = {}
        self.most_tokens = 0.0  # that a table used here was measured with

    def seconds(self, linear: Linear, tokens: Float, captured: int = 0) -> Float:
        """Return seconds of one product for each number of tokens.

        Iterations of up to ``captured`` tokens replay a CUDA graph, which hides the launch of kernels that the table
        timed with it; the fastest of the captured libraries stands for them.
        """
        found = None if self._library is None else self._find(self._library, linear.dtype)
        if found is None:
            only = "" if gain(self._profile, linear.dtype) else f" ({linear.dtype} weights, 16-bit products)"
            self.notes[f"linear {linear.name} {linear.dtype}"] = f"roofline{only}"
            return self._roofline(linear, tokens)
        self.most_tokens = float(found.axes[2].knots[-1])
        seconds, note = _read(found, linear, tokens) - self._quantizing(linear, tokens), f"measured ({self._library})"
        if linear.dtype == "fp8_block" and captured:
            others = [self._find(library, linear.dtype) for library in self._captured if library != self._library]
            if not any(others):
                assert self._library is not None
                # Nobody timed them without the launch: products by tensor read and multiply as much.
                others = [self._find(self._library, "fp8")]
                note += "; in replayed graphs as by tensor" if any(others) else ""
            for other in filter(None, others):
                seconds = np.where(tokens <= captured, np.fmin(seconds, _read(other, linear, tokens)), seconds)
        if linear.dtype == "fp8" and self._has_outliers(found, linear):
            note += ", slow outliers as products of more tokens"
        holes = ~np.isfinite(seconds)
        if holes.any():
            seconds = np.where(holes, self._roofline(linear, tokens), seconds)
            self.notes[f"linear {linear.name} {linear.dtype}"] = f"{self._library}, roofline where it has holes"
        else:
            self.notes[f"linear {linear.name} {linear.dtype}"] = note + _beyond(found, linear)
        return seconds

    def _find(self, library: str, dtype: str) -> Grid | None:
        key = library, dtype
        if key not in self._tables:
            found = next(iter(self._profile.tables.find(library, "gemm", dtype=dtype)), None)
            self._tables[key] = found
            if found is not None and dtype == "fp8":
                self._tables[key], self._outliers[library] = _without_outliers(found)
        return self._tables[key]

    def _has_outliers(self, grid: Grid, linear: Linear) -> bool:
        replaced = self._outliers[grid.library].at(float(linear.outputs), float(linear.inputs), grid.axes[2].knots)
        return bool((replaced > 1).any())

    def _quantizing(self, linear: Linear, tokens: Float) -> Float:
        """Return what a table's products spent on finding the scale of their input, which checkpoints bring along."""
        assert self._library is not None
        if linear.dtype != "fp8" or not self._library.startswith(_TIMED_WITH_SCALING):
            return np.zeros_like(tokens)
        grid = next(iter(self._profile.tables.find(self._library, "quantize", dtype="fp8")), None)
        return np.zeros_like(tokens) if grid is None else np.nan_to_num(grid.at(float(linear.inputs), tokens))

    def _roofline(self, linear: Linear, tokens: Float) -> Float:
        """The type's own roofline, else the 16-bit one with the bytes of the format and its gain on tensor cores.

        A GPU without units for the type multiplies in 16 bit: then only the weights are smaller.
        """
        each = activation_bytes(self._profile, linear.dtype)
        moved = each * tokens * linear.inputs + 2.0 * tokens * linear.outputs + linear.weight_bytes
        flops = 2.0 * tokens * linear.inputs * linear.outputs
        own = self._profile.roofline(linear.dtype)
        if own is not None:
            return own.table(flops, moved)
        return self._profile.gemm.table(flops / (gain(self._profile, linear.dtype) or 1.0), moved)


def gain(profile: Profile, dtype: str) -> float:
    """Return how many times as fast as in 16 bit a type is multiplied; 0 on a GPU that has no units for it."""
    units, peak = _UNITS.get(dtype), profile.peak
    if units is None:
        return 1.0
    if not peak:
        return _USUAL_GAIN.get(units, 0.0)
    return peak[units] / peak["bfloat16"] if units in peak and "bfloat16" in peak else 0.0


def activation_bytes(profile: Profile, dtype: str) -> float:
    """Return the bytes of a number that a product of this type reads beside its weights."""
    return _ACTIVATION_BYTES.get(dtype, 2.0) if gain(profile, dtype) else 2.0


def _without_outliers(grid: Grid) -> tuple[Grid, Grid]:
    """Read a product that is much slower than one of more tokens in the same tile as that one; tell which were."""
    inside = grid.axes[2].knots <= _TILE
    least = np.flip(np.fmin.accumulate(np.flip(np.where(inside, grid.seconds, np.inf), -1), -1), -1)
    slow = inside & (grid.seconds > _SLOW * least)
    return replace(grid, seconds=np.where(slow, least, grid.seconds)), replace(grid, seconds=np.where(slow, 2.0, 1.0))


def _beyond(grid: Grid, linear: Linear) -> str:
    """Say which size of a matrix lies beyond the table, from whose edge its time is then scaled."""
    sizes = (("outputs", linear.outputs, grid.axes[0]), ("inputs", linear.inputs, grid.axes[1]))
    return "".join(
        f", {wanted} {what} scaled from {axis.knots[-1]:.0f}" for what, wanted, axis in sizes if wanted > axis.knots[-1]
    )


def _read(grid: Grid, linear: Linear, tokens: Float) -> Float:
    """Read a product off the table; beyond its edges, time goes with the work."""
    n, k, m = (axis.knots for axis in grid.axes)
    seconds = grid.at(float(linear.outputs), float(linear.inputs), tokens)
    for wanted, knots in ((linear.outputs, n), (linear.inputs, k)):
        if wanted > knots[-1]:
            seconds = seconds * (wanted / knots[-1])
    return np.asarray(seconds * np.maximum(tokens / m[-1], 1.0))
