"""Fit rooflines to measured kernels: data frames with the attributes and axes of their grids, and ``seconds``."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.core import InputError

Float = NDArray[np.float64]
_HEAD_DIM = 128
# Bytes an input element takes; outputs are bf16. Four bits carry a scale for every 16 (NVFP4) or 32 (MXFP4).
_INPUT_BYTES = {"bfloat16": 2.0, "fp8": 1.0, "fp8_block": 1.0, "nvfp4": 0.5625, "int8": 1.0}
_OUTPUT_BYTES = 2
_FEWEST = 50
_NANOSECOND = 1e-9


class Most(NamedTuple):
    """Rates no fit may exceed, from the datasheet (B/s and FLOP/s of one type), None where it is not known.

    Where launches or caches hide the memory, or memory hides arithmetic, the hidden rate could come out as anything.
    """

    bandwidth: float | None = None
    compute: float | None = None


_NO_MOST = Most()


def fit_gemm(dtype: str, rows: Any, most: Most = _NO_MOST) -> dict[str, Any] | None:
    """Return a roofline of matrix products of a type; None where too few were measured or its bytes are unknown."""
    each = _INPUT_BYTES.get(dtype)
    # Tiny weights say more about launches than about rates.
    rows = rows[(rows["dtype"] == dtype) & (rows.n * rows.k >= 2**20)]
    if each is None or len(rows) < _FEWEST:
        return None
    m, n, k = (rows[c].to_numpy(np.float64) for c in "mnk")
    size = each * (m * k + k * n) + _OUTPUT_BYTES * m * n
    return _fit(2 * m * n * k, size, rows.seconds.to_numpy(), most)


def fit_prefill(rows: Any, most: Most = _NO_MOST) -> dict[str, Any] | None:
    """Return a roofline of bf16 attention of prompts; None where too few were measured.

    A column ``past`` counts the tokens before those of the prompt that are new; without it there are none.
    """
    rows = _plain_attention(rows)
    if len(rows) < _FEWEST:
        return None
    batch, new = rows.batch.to_numpy(np.float64), rows.new.to_numpy(np.float64)
    heads, kv = rows.heads.to_numpy(np.float64), rows.kv_heads.to_numpy(np.float64)
    past = rows.past.to_numpy(np.float64) if "past" in rows else np.zeros(len(rows))
    # Causal: of the new tokens, half of the square; two products (scores, values).
    flops = 4 * batch * heads * _HEAD_DIM * new * (past + new / 2)
    size = 2 * batch * _HEAD_DIM * 2 * (heads * new + kv * (past + new))
    return _fit(flops, size, rows.seconds.to_numpy(), most)


def fit_decode(rows: Any, most: Most = _NO_MOST) -> dict[str, Any] | None:
    """Return a roofline of bf16 attention of decodes over their context; None where too few were measured."""
    rows = _plain_attention(rows)
    if len(rows) < _FEWEST:
        return None
    context = rows.batch.to_numpy(np.float64) * rows.context.to_numpy(np.float64)
    heads, kv = rows.heads.to_numpy(np.float64), rows.kv_heads.to_numpy(np.float64)
    size = 2 * 2 * context * kv * _HEAD_DIM
    return _fit(4 * context * heads * _HEAD_DIM, size, rows.seconds.to_numpy(), most)


def fit_allreduce(rows: Any) -> dict[str, Any]:
    """Return latency and bandwidth of all-reduces of ``bytes`` over ``gpus``."""
    least_squares = _least_squares()
    gpus = rows.gpus.to_numpy(np.float64)
    moved = 2 * (gpus - 1) / gpus * rows.bytes.to_numpy(np.float64)
    measured = rows.seconds.to_numpy()
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


def as_yaml(fitted: dict[str, Any]) -> dict[str, Any]:
    """Return fitted figures as a profile writes them: with units, four digits."""
    units = {"launch": (1e6, "us"), "latency": (1e6, "us"), "compute": (1e-12, "TFLOP/s"), "bandwidth": (1e-9, "GB/s")}
    written: dict[str, Any] = {}
    for key, value in fitted.items():
        scale, unit = units.get(key, (1, ""))
        written[key] = value if isinstance(value, int) else float(f"{value:.4g}")
        if key == "launch" and value < _NANOSECOND:
            written[key] = "0us"
        elif unit:
            written[key] = f"{value * scale:.4g}{unit}"
    return written


def _least_squares() -> Any:
    try:
        from scipy.optimize import least_squares
    except ModuleNotFoundError:
        raise InputError("fitting rooflines needs scipy", hint="pip install scipy") from None
    return least_squares


def _plain_attention(rows: Any) -> Any:
    plain = (rows.kv_dtype == "bfloat16") & (rows.window == 0) & (rows.head_dim == _HEAD_DIM)
    if "attn_dtype" in rows:
        plain &= rows.attn_dtype == "bfloat16"
    return rows[plain]


def _fit(flops: Float, size: Float, measured: Float, most: Most = _NO_MOST) -> dict[str, Any]:
    """Least squares of log error over launch, compute, bandwidth and blend; robust to outliers."""
    least_squares = _least_squares()

    def predicted(theta: Float) -> Float:
        launch, compute, bandwidth = np.exp(theta[:3])
        blend = 1 + np.exp(theta[3])
        c, b = flops / compute, size / bandwidth
        longer = np.maximum(c, b)
        curve: Float = launch + longer * ((c / longer) ** blend + (b / longer) ** blend) ** (1 / blend)
        return curve

    residual: Callable[[Float], Float] = lambda theta: np.log(predicted(theta) / measured)  # noqa: E731
    start = np.array([np.log(3e-6), np.log(np.max(flops / measured)), np.log(np.quantile(size / measured, 0.99)), 0.5])
    # A start has to lie within the bounds.
    top = np.array([np.inf if rate is None else np.log(rate) for rate in (most.compute, most.bandwidth)])
    start[1:3] = np.minimum(start[1:3], top - 0.1)
    intensity = flops / size
    if np.isfinite(top[0]) and intensity.max() < 1.5 * intensity.min():
        # FLOPs and bytes in one proportion cannot be told apart; such kernels are bound by memory.
        theta = least_squares(lambda rest: residual(np.array([rest[0], top[0], *rest[1:]])), start[[0, 2, 3]],
                              loss="soft_l1", f_scale=0.1, bounds=(-np.inf, [np.inf, top[1], np.inf])).x  # fmt: skip
        return _figures(np.array([theta[0], top[0], *theta[1:]]), predicted, measured)
    bounds = (-np.inf, [np.inf, *top, np.inf])
    theta = least_squares(residual, start, loss="soft_l1", f_scale=0.1, bounds=bounds).x
    return _figures(theta, predicted, measured)


def _figures(theta: Float, predicted: Callable[[Float], Float], measured: Float) -> dict[str, Any]:
    return {
        "launch": float(np.exp(theta[0])),
        "compute": float(np.exp(theta[1])),
        "bandwidth": float(np.exp(theta[2])),
        "blend": float(1 + np.exp(theta[3])),
        "error": float(np.median(np.abs(predicted(theta) / measured - 1))),
        "samples": len(measured),
    }
