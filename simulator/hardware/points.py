"""What the tables say in FLOPs and bytes: matrix products, attention, all-reduces."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.fit_roofline import Most
from simulator.hardware.grid import Float, Grid
from simulator.hardware.tables import Tables

# Clocks may exceed the datasheet's by so much.
ABOVE = 1.05
# A working set of several caches is read from memory.
_CACHES = 3.0
# Bytes of an input element; four-bit types carry scales.
_BYTES = {"bfloat16": 2.0, "half": 2.0, "float": 4.0, "int8": 1.0, "fp8": 1.0, "fp8_block": 1.0, "nvfp4": 0.5625}


@dataclass(frozen=True)
class Points:
    """The measured kernels of a grid, holes left out: flat arrays of one length.

    ``flops`` and ``size`` (bytes moved) are of each kernel, ``dtype`` that of its inputs (for decodes, of the cache).
    ``places`` are its knots' indexes in the grid, one column an axis.
    """

    grid: Grid
    dtype: str
    flops: Float
    size: Float
    seconds: Float
    places: NDArray[np.intp]

    def coordinate(self, axis: str) -> Float:
        """Return each kernel's coordinate on an axis."""
        at = [each.name for each in self.grid.axes].index(axis)
        return self.grid.axes[at].knots[self.places[:, at]]

    def describe(self, index: int) -> str:
        """Return which kernel it is, such as ``n 4096, k 4096, m 16``."""
        return describe(self.grid, self.places[index])


def describe(grid: Grid, place: NDArray[np.intp]) -> str:
    """Return the coordinates of a cell of a grid, and the attributes that tell the grid from its like."""
    coordinates = [f"{axis.name} {axis.knots[at]:g}" for axis, at in zip(grid.axes, place, strict=True)]
    attributes = [f"{name} {value}" for name, value in grid.attributes.items() if name not in ("dtype", "kv_dtype")]
    return ", ".join(coordinates + attributes)


def impossible(points: Points, most: Most, l2: float | None) -> NDArray[np.bool_]:
    """Tell which kernels are faster than the datasheet allows: its FLOP/s, or its memory beyond what caches hold."""
    too_fast = np.zeros(len(points.seconds), bool)
    if most.compute is not None:
        too_fast |= points.flops > ABOVE * most.compute * points.seconds
    if most.bandwidth is not None and l2 is not None:
        too_fast |= (points.size > _CACHES * l2) & (points.size > ABOVE * most.bandwidth * points.seconds)
    return too_fast


def matrix_products(tables: Tables) -> Iterator[Points]:
    """Yield matrix products, of kernel tables and of layers, one group a grid."""
    for grid in _grids(tables, "gemm", "layer", "layer_sequence"):
        dtype = str(grid.attributes.get("dtype", "bfloat16"))
        if grid.operator == "gemm" and dtype in _BYTES:
            n, k, m = _mesh(grid)
        elif grid.attributes.get("n"):
            m = grid.axes[0].knots
            n, k = (np.full_like(m, float(grid.attributes[name])) for name in ("n", "k"))
        else:
            continue
        size = _BYTES[dtype] * (m * k + k * n) + 2 * m * n
        yield _points(grid, dtype, 2 * m * n * k, size)


def prompt_attention(tables: Tables) -> Iterator[Points]:
    """Yield attention of whole prompts without a window."""
    for grid in _grids(tables, "prefill_attention"):
        if grid.attributes["window"] == 0:
            batch, new = _mesh(grid)
            heads, kv, dim = (float(grid.attributes[name]) for name in ("heads", "kv_heads", "head_dim"))
            flops = 2 * batch * heads * dim * new**2
            yield _points(grid, str(grid.attributes["attn_dtype"]), flops, 4 * batch * new * dim * (heads + kv))


def decode_attention(tables: Tables) -> Iterator[Points]:
    """Yield attention of decodes without a window, of kernel tables and of layers; bytes are those of the KV cache."""
    for grid in _grids(tables, "decode_attention", "layer_attention"):
        attributes = grid.attributes
        if grid.operator == "layer_attention" and attributes.get("kv_heads"):
            grid = Grid(grid.library, grid.operator, grid.axes[2:], grid.seconds[0, 0], attributes)
        elif attributes.get("window") != 0:
            continue
        dtype = str(attributes.get("kv_dtype", "bfloat16"))
        batch, context = _mesh(grid)
        numbers = batch * context * float(attributes["head_dim"])
        size = 2 * _BYTES[dtype] * numbers * float(attributes["kv_heads"])
        yield _points(grid, dtype, 4 * numbers * float(attributes["heads"]), size)


def all_reduces(tables: Tables) -> Iterator[Points]:
    """Yield all-reduces, captured ones and NCCL's; bytes are those of the array that each GPU has, FLOPs are 0."""
    for grid in _grids(tables, "allreduce", "collective"):
        if grid.attributes.get("op") == "all_reduce" or grid.attributes.get("graph") == 1:
            _, size = _mesh(grid)
            yield _points(grid, str(grid.attributes["dtype"]), np.zeros_like(size), size)


def _grids(tables: Tables, *operators: str) -> Iterator[Grid]:
    for library in tables.libraries():
        for operator in operators:
            yield from tables.find(library, operator)


def _mesh(grid: Grid) -> tuple[Float, ...]:
    return tuple(np.meshgrid(*(axis.knots for axis in grid.axes), indexing="ij"))


def _points(grid: Grid, dtype: str, flops: Float, size: Float) -> Points:
    known = ~np.isnan(grid.seconds) & (size > 0)
    return Points(grid, dtype, flops[known], size[known], grid.seconds[known], np.argwhere(known))
