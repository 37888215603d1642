"""How much of a batch's attention waits for its longest context: LLMServingSim's fits, made small."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from simulator.hardware.importers.layer_folder import LayerFolder

# A share is between none and all; a logarithm cannot hold none.
_LEAST, _MOST = 1e-4, 1.0


def skew_rows(folders: Sequence[LayerFolder]) -> Any:
    """Return the median share by model, split, kind of batch and requests, as rows of a grid; None without any.

    Parts: ``decode`` (no prompt in the batch) and ``mixed``. The share stands in the column ``seconds``, cut to what
    a share can be.
    """
    import pandas as pd

    found = []
    for folder in folders:
        table = _table(folder)
        if table is not None:
            medians = table.groupby(["model", "tp", "part", "sequences"]).alpha.median().clip(_LEAST, _MOST)
            found.append(medians.rename("seconds").reset_index())
    return pd.concat(found) if found else None


def skew_by_load(folders: Sequence[LayerFolder], sms: int) -> list[dict[str, Any]]:
    """Return mean and quartiles of the share of decode batches, pooled over models, by blocks a processor.

    ``x = requests * KV heads a GPU / (2 * sms)``, in steps of a factor 2. FlashAttention 2 splits a sequence over
    processors only while there are fewer blocks than those; beyond, a long sequence is a block that the rest waits for.
    """
    import pandas as pd

    found = []
    for folder in folders:
        table, kv_heads = _table(folder), folder.kv_heads()
        if table is not None and kv_heads is not None:
            found.append(
                table[table.part == "decode"].assign(x=lambda rows, kv=kv_heads: rows.sequences * kv / (2 * sms))
            )
    if not found:
        return []
    rows = pd.concat(found)
    shares = []
    for _, group in rows.groupby(np.round(np.log2(rows.x))):
        low, median, high = group.alpha.quantile([0.25, 0.5, 0.75])
        # Noise goes both ways, but a few cells of tiny batches are beyond any share.
        mean = group.alpha.clip(-_MOST, _MOST).mean()
        figures = {"x": np.exp(np.log(group.x).mean()), "mean": mean, "median": median, "low": low, "high": high}
        shares.append({name: float(f"{value:.3g}") for name, value in figures.items()} | {"cells": len(group)})
    return shares


def _table(folder: LayerFolder) -> Any:
    table = folder.table("skew_fit")
    if table is None:
        return None
    # A bucket's label is its upper bound, at which alone it was measured: batches double.
    requests = table.n_label.str.extract(r"n<=(\d+)")[0]
    table = table[requests.notna()].assign(sequences=requests.dropna().astype(int))
    return table.assign(part=np.where(table.pc == 0, "decode", "mixed"))
