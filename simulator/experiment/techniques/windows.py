"""What techniques share that let some layers see a window: the layers, and the KV that is left."""

from dataclasses import replace

import numpy as np

from simulator.core import InputError
from simulator.model import Attention, Transformer
from simulator.workload.table import Workload


def with_window(model: Transformer, window: int, share: float) -> Transformer:
    """Return the model with a window on a share of the layers of each kind, rounded; those with a smaller keep theirs.

    InputError where a layer has latent attention, whose kernels were measured without windows.
    """
    kinds = []
    for kind in model.kinds:
        attention = kind.attention
        if not isinstance(attention, Attention):
            raise InputError(f"{model.name} has latent attention, whose kernels know no window")
        narrow = replace(attention, window=min(window, attention.window or window))
        changed = round(share * kind.count)
        kinds += [replace(kind, count=changed, attention=narrow), replace(kind, count=kind.count - changed)]
    return replace(model, kinds=tuple(kind for kind in kinds if kind.count), order=())


def kept_share(model: Transformer, workload: Workload) -> float:
    """Return the share of KV bytes that requests at their full lengths keep if layers keep no more than their window.

    Blocks are counted in tokens, so an engine that frees what is out of the window has as many times the blocks.
    """
    lengths = workload.prompt_tokens + workload.output_tokens
    values, counts = np.unique(lengths, return_counts=True)
    kept = sum(model.kv_bytes(int(n)) * int(count) for n, count in zip(values, counts, strict=True))
    return kept / (float(lengths.sum()) * model.kv_bytes_per_token())
