"""Matrix products of a layer by number of tokens: from measured tables where they fit, else from the roofline."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.grid import Grid
from simulator.hardware.profile import Profile
from simulator.hardware.tables import Tables
from simulator.model import Linear

Float = NDArray[np.float64]
# Libraries whose fp8 products were timed together with the search for their input's scale.
_TIMED_WITH_SCALING = ("trtllm-",)
_ACTIVATION_BYTES = {"fp8": 1.0, "fp8_block": 1.0, "int8": 1.0}
_UNITS = {"fp8": "fp8", "fp8_block": "fp8", "int8": "int8"}  # what multiplies activations of this type
_USUAL_GAIN = 2.0  # of 8 over 16 bit on the same tensor cores


class LinearTimes:
    """Seconds of matrix products on one GPU with the kernels of one library.

    ``notes`` says, for each that was asked for, what its time rests on.
    """

    def __init__(self, profile: Profile, library: str | None, captured_libraries: Sequence[str] = ()) -> None:
        self._profile = profile
        self._library = library
        self._captured = captured_libraries
        self.notes: dict[str, str] = {}
        self.most_tokens = 0.0  # that a table used here was measured with

    def seconds(self, linear: Linear, tokens: Float, captured: int = 0) -> Float:
        """Return seconds of one product for each number of tokens.

        Iterations of up to ``captured`` tokens replay a CUDA graph, which hides the launch of kernels that the table
        timed with it; the fastest of the captured libraries stands for them.
        """
        tables = self._profile.tables
        found = None if self._library is None else _find(tables, self._library, linear.dtype)
        if found is None:
            only = "" if self._gain(linear.dtype) else f" ({linear.dtype} weights, 16-bit products)"
            self.notes[f"linear {linear.name} {linear.dtype}"] = f"roofline{only}"
            return self._roofline(linear, tokens)
        self.most_tokens = float(found.axes[2].knots[-1])
        seconds, note = _read(found, linear, tokens) - self._quantizing(linear, tokens), f"measured ({self._library})"
        if linear.dtype == "fp8_block" and captured:
            others = [_find(tables, library, linear.dtype) for library in self._captured if library != self._library]
            if not any(others):
                assert self._library is not None
                # Nobody timed them without the launch: products by tensor read and multiply as much.
                others = [_find(tables, self._library, "fp8")]
                note += "; in replayed graphs as by tensor" if any(others) else ""
            for other in filter(None, others):
                seconds = np.where(tokens <= captured, np.fmin(seconds, _read(other, linear, tokens)), seconds)
        holes = ~np.isfinite(seconds)
        if holes.any():
            seconds = np.where(holes, self._roofline(linear, tokens), seconds)
            self.notes[f"linear {linear.name} {linear.dtype}"] = f"{self._library}, roofline where it has holes"
        else:
            self.notes[f"linear {linear.name} {linear.dtype}"] = note + _beyond(found, linear)
        return seconds

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
        gain = self._gain(linear.dtype)
        each = _ACTIVATION_BYTES.get(linear.dtype, 2.0) if gain else 2.0
        moved = each * tokens * linear.inputs + 2.0 * tokens * linear.outputs + linear.weight_bytes
        flops = 2.0 * tokens * linear.inputs * linear.outputs
        own = self._profile.roofline(linear.dtype)
        if own is not None:
            return own.table(flops, moved)
        return self._profile.gemm.table(flops / (gain or 1.0), moved)

    def _gain(self, dtype: str) -> float:
        """Return how many times as fast as in 16 bit a type is multiplied; 0 on a GPU that has no units for it."""
        units, peak = _UNITS.get(dtype), self._profile.peak
        if units is None:
            return 1.0
        if not peak:
            return _USUAL_GAIN
        return peak[units] / peak["bfloat16"] if units in peak and "bfloat16" in peak else 0.0


def _find(tables: Tables, library: str, dtype: str) -> Grid | None:
    return next(iter(tables.find(library, "gemm", dtype=dtype)), None)


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
