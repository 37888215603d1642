"""aiconfigurator's kernel tables: which columns they have, and what grids they become."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulator.hardware.importers.measurements import Layout

_US = 1e-6
# A difference of two kernels can come out as nothing; a logarithm cannot hold that.
_LEAST = 1e-8
# Both ends of each tooth of FP8 kernels, whose time jumps where a tile overflows and then falls again.
_TEETH = tuple(m + end for m in (16, 64, 128, *range(256, 4353, 256)) for end in (0, 1))


@dataclass(frozen=True)
class Table:
    """One kind of file: where its columns go (ours to theirs), what else to compute, and the layout of its grids."""

    layout: Layout
    columns: dict[str, str]
    prepare: Callable[[Any], Any] = field(default=lambda rows: rows)


def _windowed(rows: Any) -> Any:
    rows = rows if "window_size" in rows else rows.assign(window_size=0)
    kv = rows.num_key_value_heads
    # 0 stands for as many as there are heads.
    return rows.assign(num_key_value_heads=kv.where(kv > 0, rows.num_heads))


def _decoding(rows: Any) -> Any:
    # step counts the tokens in the cache; the new one attends to itself as well.
    return _windowed(rows).assign(context=rows["step"] + 1)


def _deepseek(rows: Any) -> Any:
    # Modules of other models (Kimi K3 on a GB300) have other ranks and widths.
    return rows[rows.architecture == "DeepseekV3ForCausalLM"] if "architecture" in rows else rows


def _mla_decoding(rows: Any) -> Any:
    rows = _deepseek(rows)
    return rows.assign(context=rows["step"] + 1)


def _allreduce(rows: Any) -> Any:
    eager = rows["backend"].str.contains("eager") if "backend" in rows else False
    # message_size counts elements.
    return rows.assign(graph=1 - eager * 1, bytes=rows.message_size * 2)


def _collective(rows: Any) -> Any:
    return rows.assign(bytes=rows.message_size * rows.nccl_dtype.map({"half": 2, "int8": 1, "float": 4}))


def _all_to_all(rows: Any) -> Any:
    # This table alone is in microseconds; its column transmit_us, the greater part of latency, says so.
    return rows.assign(seconds=rows["latency"] * _US) if "transmit_us" in rows else rows


def _bmm(rows: Any) -> Any:
    return rows.assign(part=rows.op_name.str.removeprefix("mla_"))


def _difference(rows: Any) -> Any:
    return rows.assign(seconds=rows.seconds.clip(lower=_LEAST))


_HEADS = {
    "heads": "num_heads",
    "kv_heads": "num_key_value_heads",
    "window": "window_size",
    "kv_dtype": "kv_cache_dtype",
}
_MLA = {"kv_dtype": "kv_cache_dtype", "dtype": "gemm_type", "heads": "num_heads", "batch": "batch_size"}
_NK = (("k", "log"), ("m", "linear"))
_COLLECTIVES = Table(
    Layout("collective", ("op", "dtype"), (("gpus", "linear"), ("bytes", "log")), alike=("dtype",)),
    {"op": "op_name", "dtype": "nccl_dtype", "gpus": "num_gpus"},
    _collective,
)

TABLES = {
    "gemm": Table(
        Layout("gemm", ("dtype",), (("n", "log"), *_NK), alike=("dtype",), thinned=("m",), held=_TEETH),
        {"dtype": "gemm_dtype"},
    ),
    "context_attention": Table(
        Layout(
            "prefill_attention",
            ("kv_dtype", "attn_dtype", "head_dim", "window", "heads", "kv_heads"),
            (("batch", "log"), ("new", "log")),
            alike=("kv_dtype", "attn_dtype"),
            thinned=("batch", "new"),
        ),
        {**_HEADS, "batch": "batch_size", "new": "isl"},
        _windowed,
    ),
    "generation_attention": Table(
        Layout(
            "decode_attention",
            ("kv_dtype", "head_dim", "window", "heads", "kv_heads"),
            (("batch", "linear"), ("context", "linear")),
            alike=("kv_dtype",),
            thinned=("batch", "context"),
        ),
        {**_HEADS, "batch": "batch_size"},
        _decoding,
    ),
    "moe": Table(
        Layout(
            "moe",
            ("dtype", "hidden", "inter", "topk", "experts", "tp", "ep", "distribution"),
            (("tokens", "linear"),),
            alike=("dtype",),
            thinned=("tokens",),
        ),
        {
            "dtype": "moe_dtype",
            "hidden": "hidden_size",
            "inter": "inter_size",
            "experts": "num_experts",
            "tp": "moe_tp_size",
            "ep": "moe_ep_size",
            "tokens": "num_tokens",
        },
    ),
    "mla_context_module": Table(
        Layout(
            "mla_prefill",
            ("kv_dtype", "dtype"),
            (("heads", "log"), ("batch", "log"), ("new", "log")),
            alike=("kv_dtype", "dtype"),
            thinned=("batch", "new"),
        ),
        {**_MLA, "new": "isl"},
        _deepseek,
    ),
    "mla_generation_module": Table(
        Layout(
            "mla_decode",
            ("kv_dtype", "dtype"),
            (("heads", "log"), ("batch", "linear"), ("context", "linear")),
            alike=("kv_dtype", "dtype"),
            thinned=("batch", "context"),
        ),
        _MLA,
        _mla_decoding,
    ),
    "mla_bmm": Table(
        Layout(
            "mla_bmm",
            ("dtype", "part"),
            (("heads", "log"), ("tokens", "linear")),
            alike=("dtype",),
            thinned=("tokens",),
        ),
        {"dtype": "bmm_dtype", "heads": "num_heads", "tokens": "num_tokens"},
        _bmm,
    ),
    "custom_allreduce": Table(
        Layout("allreduce", ("dtype", "graph"), (("gpus", "linear"), ("bytes", "log")), alike=("dtype",)),
        {"dtype": "allreduce_dtype", "gpus": "num_gpus"},
        _allreduce,
    ),
    "nccl": _COLLECTIVES,
    "oneccl": _COLLECTIVES,
    "computescale": Table(
        Layout("quantize", ("dtype",), _NK, alike=("dtype",), thinned=("m",)), {"dtype": "quant_dtype"}, _difference
    ),
    "scale_matrix": Table(Layout("scale", ("dtype",), _NK, alike=("dtype",), thinned=("m",)), {"dtype": "quant_dtype"}),
    "moe_a2a": Table(
        Layout("moe_a2a", ("backend", "phase", "hidden", "topk", "experts"), (("tokens", "linear"),)),
        {"backend": "comm_backend", "hidden": "hidden_size", "experts": "num_experts", "tokens": "num_tokens"},
        _all_to_all,
    ),
}
