"""A layer profile's matrix products and attention as rows that rooflines are fitted to."""

from collections.abc import Sequence
from typing import Any, Literal

from simulator.hardware.importers.layer_folder import LayerFolder, LayerShape

_US = 1e-6


def products(shape: LayerShape) -> dict[str, tuple[int, int]]:
    """Return (n, k) of the matrix products of one GPU's share of a layer, by the part's name."""
    attended = shape.heads * shape.head_dim
    return {
        "qkv_proj": (attended + 2 * shape.kv_heads * shape.head_dim, shape.hidden),
        "o_proj": (shape.hidden, attended),
        "gate_up_proj": (2 * shape.ffn, shape.hidden),
        "down_proj": (shape.hidden, shape.ffn),
        "lm_head": (shape.vocab, shape.hidden),
    }


def gemm_rows(folders: Sequence[LayerFolder]) -> Any:
    """Return bf16 matrix products (dtype, m, n, k, seconds) of all models whose shape is known; None without any."""
    found = []
    for folder in folders:
        shape = folder.shape()
        if shape is None:
            continue
        sizes = products(shape)
        for name, column in (("dense", "tokens"), ("per_sequence", "sequences")):
            table = folder.table(name)
            if table is None:
                continue
            rows = table[table.layer.isin(sizes)]
            n, k = (rows.layer.map({part: size[at] for part, size in sizes.items()}) for at in (0, 1))
            found.append(rows.assign(dtype="bfloat16", m=rows[column], n=n, k=k, seconds=rows.time_us * _US))
    return _joined(found, ["dtype", "m", "n", "k", "seconds"])


def attention_rows(folders: Sequence[LayerFolder], kind: Literal["prefill", "decode"]) -> Any:
    """Return attention of a prompt alone or of decodes alone, of all models whose shape is known; None without any."""
    found = []
    for folder in folders:
        shape, table = folder.shape(), folder.table("attention")
        if shape is None or table is None:
            continue
        rows = table[(table.n_decode if kind == "prefill" else table.prefill_chunk) == 0]
        rows = rows.assign(kv_dtype="bfloat16", window=0, head_dim=shape.head_dim, heads=shape.heads)
        rows = rows.assign(kv_heads=shape.kv_heads, seconds=rows.time_us * _US)
        if kind == "prefill":
            rows = rows.assign(batch=1, new=rows.prefill_chunk, past=rows.kv_prefill)
        else:
            rows = rows.assign(batch=rows.n_decode, context=rows.kv_decode)
        found.append(rows)
    columns = ["new", "past"] if kind == "prefill" else ["context"]
    return _joined(found, ["kv_dtype", "window", "head_dim", "heads", "kv_heads", "batch", *columns, "seconds"])


def _joined(found: list[Any], columns: list[str]) -> Any:
    import pandas as pd

    return pd.concat(found)[columns] if found else None
