"""Fit rooflines to measured kernel tables (a folder in aiconfigurator's layout: ``*_perf.csv.gz``, latency in ms).

``python -m simulator.hardware.fit_roofline KERNELS [NCCL]`` prints the sections of a profile; it needs scipy.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core import InputError

Float = NDArray[np.float64]
_BYTES = 2  # bf16


def fit_folder(folder: Path, nccl: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return fitted ``gemm``, ``prefill_attention``, ``decode_attention`` and ``allreduce``: SI units, error, samples.

    The all-reduce is vLLM's graph-captured one, or NCCL's where ``nccl`` names a folder of its tables instead.
    """
    allreduce = _table(folder, "custom_allreduce") if nccl is None else _table(nccl, "nccl")
    return {
        "gemm": _fit(*_gemm(_table(folder, "gemm"))),
        "prefill_attention": _fit(*_prefill(_table(folder, "context_attention"))),
        "decode_attention": _fit(*_decode(_table(folder, "generation_attention"))),
        "allreduce": _allreduce(allreduce),
    }


def _table(folder: Path, name: str) -> Any:
    import pandas as pd

    path = folder / f"{name}_perf.csv.gz"
    if not path.exists():
        raise InputError(f"no {path.name} here", where=str(folder), hint="give a folder of *_perf.csv.gz tables")
    table = pd.read_csv(path)
    # Columns that never vary are kept beside the table.
    const = folder / f"{name}_perf.const.json"
    if const.exists():
        table = table.assign(**json.loads(const.read_text())["constant_columns"])
    return table.assign(window_size=0) if "window_size" not in table else table


def _gemm(table: Any) -> tuple[Float, Float, Float]:
    rows = table[(table.gemm_dtype == "bfloat16") & (table.n * table.k >= 2**20)]
    m, n, k = (rows[c].to_numpy(np.float64) for c in "mnk")
    return 2 * m * n * k, _BYTES * (m * k + k * n + m * n), rows.latency.to_numpy() * 1e-3


def _prefill(table: Any) -> tuple[Float, Float, Float]:
    rows = table[(table.kv_cache_dtype == "bfloat16") & (table.window_size == 0) & (table.head_dim == 128)]
    batch, new = rows.batch_size.to_numpy(np.float64), rows.isl.to_numpy(np.float64)
    heads, kv = rows.num_heads.to_numpy(np.float64), rows.num_key_value_heads.to_numpy(np.float64)
    # Causal: half of the square; two products (scores, values).
    flops = 2 * batch * heads * 128 * new**2
    return flops, _BYTES * batch * new * 128 * 2 * (heads + kv), rows.latency.to_numpy() * 1e-3


def _decode(table: Any) -> tuple[Float, Float, Float]:
    rows = table[(table.kv_cache_dtype == "bfloat16") & (table.window_size == 0) & (table.head_dim == 128)]
    context = rows.batch_size.to_numpy(np.float64) * (rows.step.to_numpy(np.float64) + 1)
    heads, kv = rows.num_heads.to_numpy(np.float64), rows.num_key_value_heads.to_numpy(np.float64)
    return 4 * context * heads * 128, _BYTES * 2 * context * kv * 128, rows.latency.to_numpy() * 1e-3


def _fit(flops: Float, size: Float, measured: Float) -> dict[str, Any]:
    """Least squares of log error over launch, compute, bandwidth and blend; robust to outliers."""
    from scipy.optimize import least_squares

    keep = measured > 0
    flops, size, measured = flops[keep], size[keep], measured[keep]

    def predicted(theta: Float) -> Float:
        launch, compute, bandwidth = np.exp(theta[:3])
        blend = 1 + np.exp(theta[3])
        c, b = flops / compute, size / bandwidth
        longer = np.maximum(c, b)
        curve: Float = launch + longer * ((c / longer) ** blend + (b / longer) ** blend) ** (1 / blend)
        return curve

    residual: Callable[[Float], Float] = lambda theta: np.log(predicted(theta) / measured)  # noqa: E731
    start = np.array([np.log(3e-6), np.log(np.max(flops / measured)), np.log(np.quantile(size / measured, 0.99)), 0.5])
    theta = least_squares(residual, start, loss="soft_l1", f_scale=0.1).x
    return {
        "launch": float(np.exp(theta[0])),
        "compute": float(np.exp(theta[1])),
        "bandwidth": float(np.exp(theta[2])),
        "blend": float(1 + np.exp(theta[3])),
        "error": float(np.median(np.abs(predicted(theta) / measured - 1))),
        "samples": len(measured),
    }


def _allreduce(table: Any) -> dict[str, Any]:
    """Fit latency and bandwidth of the graph-captured custom all-reduce; ``message_size`` counts bf16 elements."""
    from scipy.optimize import least_squares

    if "backend" in table:
        rows = table[table.backend == "vllm_graph"]
    else:
        rows = table[(table.op_name == "all_reduce") & (table.nccl_dtype == "half")]
    gpus = rows.num_gpus.to_numpy(np.float64)
    moved = 2 * (gpus - 1) / gpus * rows.message_size.to_numpy(np.float64) * _BYTES
    measured = rows.latency.to_numpy() * 1e-3
    residual: Callable[[Float], Float] = lambda theta: np.log(  # noqa: E731
        (np.exp(theta[0]) + moved / np.exp(theta[1])) / measured
    )
    theta = least_squares(residual, np.log([5e-6, 3e11]), loss="soft_l1", f_scale=0.1).x
    return {
        "latency": float(np.exp(theta[0])),
        "bandwidth": float(np.exp(theta[1])),
        "most_gpus": int(gpus.max()),
        "error": float(np.median(np.abs(np.exp(residual(theta)) - 1))),
        "samples": len(rows),
    }


def main(folders: list[str]) -> None:
    """Print the fitted sections as YAML, in the units of a profile."""
    units = {"launch": (1e6, "us"), "latency": (1e6, "us"), "compute": (1e-12, "TFLOP/s"), "bandwidth": (1e-9, "GB/s")}
    lines = []
    for section, figures in fit_folder(*map(Path, folders)).items():
        lines.append(f"{section}:")
        for key, value in figures.items():
            scale, unit = units.get(key, (1, ""))
            text = str(value) if isinstance(value, int) else f"{value * scale:.4g}"
            lines.append(f"  {key}: {text}{unit}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
