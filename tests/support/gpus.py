"""Made-up GPUs whose every time can be worked out on paper: round numbers, and tables filled by a formula."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from simulator.hardware.engine_profile import EngineProfile, Host
from simulator.hardware.grid import Axis, Grid
from simulator.hardware.profile import Profile
from simulator.hardware.tables import Tables
from simulator.model import Attention, Experts, LayerKind, Mlp, Precision, Transformer

LIBRARY = "vllm-1.0"
LAUNCH, COMPUTE, BANDWIDTH = 1e-6, 100e12, 1e12
# With blend 1 compute and memory never overlap: launch + FLOPs / compute + bytes / bandwidth.
_ROOFLINE = {"launch": "1us", "compute": "100TFLOP/s", "bandwidth": "1TB/s", "blend": 1, "error": 0, "samples": 1}
_NO_HOST: dict[str, Any] = {"iteration": "0us", "sequence": "0us"}


def gpu(grids: Iterable[Grid] = (), **sections: Any) -> Profile:
    """Return a GPU of round numbers with these tables; ``sections`` replace those of its profile."""
    profile = Profile.model_validate(
        {
            "schema": 2,
            "name": "made_up",
            "gpu": "made up",
            "sms": 100,
            "memory": {"capacity": "80GB", "bandwidth": "2TB/s"},
            **dict.fromkeys(("gemm", "prefill_attention", "decode_attention"), _ROOFLINE),
            "elementwise": {"launch": "1us", "bandwidth": "1TB/s"},
            "allreduce": {"latency": "10us", "bandwidth": "100GB/s", "most_gpus": 8},
            "provenance": {"gemm": "made up"},
            **sections,
        }
    )
    # A cached property: what it holds is what a table file would give, without rounding.
    profile.__dict__["tables"] = Tables(grids)
    return profile


def paper_roofline(flops: Any, size: Any) -> Any:
    """Return what the made-up GPU's rooflines give, in seconds."""
    return LAUNCH + flops / COMPUTE + size / BANDWIDTH


def engine(host: dict[str, Any] | None = None, **build: Any) -> EngineProfile:
    """Return an engine with one build, whose host costs nothing but what is said."""
    spent = {**_NO_HOST, **(host or {})}
    only = {
        "name": "only",
        "asynchronous": False,
        "admission_lag": 0,
        "captured": 0,
        "reserved_memory": "1GB",
        "host": spent,
        "in_process": _NO_HOST,
        "provenance": {"host": "made up"},
        **build,
    }
    return EngineProfile.model_validate(
        {
            "schema": 1,
            "name": "made_up",
            "kernels": "vllm",
            "scheduler": "vllm",
            "block_size": 16,
            "gpu_memory_utilization": 0.9,
            "builds": [only],
        }
    )


def host(**spent: Any) -> Host:
    """Return a host that spends nothing but what is said."""
    return Host.model_validate({**_NO_HOST, **spent})


def model(
    *, heads: int = 8, kv_heads: int = 8, window: int = 0, experts: Experts | None = None, layers: int = 2, **more: Any
) -> Transformer:
    """Return a small model: head size 128, hidden 1024, an MLP of 4096 or experts in every layer."""
    attention = Attention(heads, kv_heads, 128, 128, window)
    kind = LayerKind(layers, attention, experts or Mlp(4096, gated=True))
    shape = {"hidden": 1024, "vocab": 32_000, "tied": False, "max_model_len": 2**20, "precision": Precision()}
    return Transformer(name="made-up", kinds=(kind,), **{**shape, **more})


def grid(
    operator: str,
    axes: Sequence[tuple[str, Sequence[float], str]],
    seconds: Callable[..., Any],
    *,
    library: str = LIBRARY,
    **attributes: str | int | float,
) -> Grid:
    """Return a table filled by a formula of the axes' coordinates (arrays that broadcast)."""
    made = tuple(Axis(name, np.array(knots, np.float64), scale) for name, knots, scale in axes)  # type: ignore[arg-type]
    points = np.meshgrid(*(axis.knots for axis in made), indexing="ij")
    filled = np.asarray(seconds(*points), np.float64) * np.ones_like(points[0])
    return Grid(library, operator, made, filled, attributes)


def gemm(
    seconds: Callable[..., Any], m: Sequence[float] = (1, 64, 4096), *, dtype: str = "bfloat16", **more: Any
) -> Grid:
    """Return a table of matrix products from ``seconds(n, k, m)``."""
    wide = (32, 1024, 65_536)
    return grid("gemm", (("n", wide, "log"), ("k", wide, "log"), ("m", m, "linear")), seconds, dtype=dtype, **more)


def decode_attention(
    seconds: Callable[..., Any],
    batch: Sequence[float] = (1, 16, 256),
    context: Sequence[float] = (1, 100, 1000, 10_000),
    **heads: Any,
) -> Grid:
    """Return a table of decode attention from ``seconds(batch, context)``; 8 of 8 heads of size 128 unless told."""
    shape = {"kv_dtype": "bfloat16", "head_dim": 128, "window": 0, "heads": 8, "kv_heads": 8, **heads}
    axes = (("batch", batch, "linear"), ("context", context, "linear"))
    return grid("decode_attention", axes, seconds, **shape)


def prompt_attention(
    seconds: Callable[..., Any],
    batch: Sequence[float] = (1, 4, 16),
    new: Sequence[float] = (16, 256, 4096),
    **heads: Any,
) -> Grid:
    """Return a table of prompt attention from ``seconds(batch, new)``; 8 of 8 heads of size 128 unless told."""
    shape = {"kv_dtype": "bfloat16", "attn_dtype": "bfloat16", "head_dim": 128, "window": 0, "heads": 8, "kv_heads": 8}
    axes = (("batch", batch, "log"), ("new", new, "log"))
    return grid("prefill_attention", axes, seconds, **{**shape, **heads})
