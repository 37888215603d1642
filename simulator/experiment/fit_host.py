"""Fit an engine's host cost, per iteration and per sequence, to measured inter-token latencies of saturated runs.

``python -m simulator.experiment.fit_host FILE.csv`` with columns as in the ML.ENERGY benchmark's export: median ITL at
a steady batch, by model and tensor parallelism. What the rooflines leave unexplained is taken for host time.
"""

import sys
from typing import Any, NamedTuple

import numpy as np

from simulator.cost.roofline import RooflineCost
from simulator.hardware.profile import Host, load_profile
from simulator.model.registry import load_model

_MODELS = {
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "meta-llama/Llama-3.1-70B-Instruct": "llama-3.1-70b",
    "Qwen/Qwen3-8B": "qwen3-8b",
    "Qwen/Qwen3-32B": "qwen3-32b",
}
_PROMPT_TOKENS = 150  # assumed: the export has no prompt lengths, and chat prompts are short beside the outputs
_MOST_SEQUENCES = 768


class HostFit(NamedTuple):
    """Fitted seconds an iteration and a sequence; mean absolute relative error of the ITL with and without them."""

    iteration_s: float
    sequence_s: float
    points: int
    error: float
    error_without: float


def fit_host(file: str, hardware: str = "h100_sxm") -> HostFit:
    """Least squares of relative error over the dense 16-bit points of known models."""
    import pandas as pd

    table = pd.read_csv(file)
    dense = table.weight_precision.eq("bfloat16") & table.par_data_parallel.eq(1) & table.par_expert_parallel.eq(1)
    rows = table[dense & table.model_id.isin(_MODELS) & (table.avg_batch_size <= _MOST_SEQUENCES)]
    batch = rows.avg_batch_size.to_numpy(np.float64)
    measured = rows.median_itl_ms.to_numpy(np.float64) * 1e-3
    gpu = np.array([_gpu_seconds(row, hardware) for row in rows.itertuples()])
    terms = np.column_stack([np.ones_like(batch), batch])
    host, *_ = np.linalg.lstsq(terms / measured[:, None], (measured - gpu) / measured, rcond=None)

    def error(predicted: Any) -> float:
        return float(np.abs(predicted / measured - 1).mean())

    return HostFit(float(host[0]), float(host[1]), len(rows), error(gpu + terms @ host), error(gpu))


def _gpu_seconds(row: Any, hardware: str) -> float:
    profile = load_profile(hardware)
    nothing = Host.model_construct(iteration=0.0, sequence=0.0, reserved_memory=profile.host.reserved_memory)
    profile = profile.model_copy(update={"host": nothing})
    cost = RooflineCost(load_model(_MODELS[row.model_id]), profile, int(row.par_tensor_parallel))
    context = row.avg_batch_size * (_PROMPT_TOKENS + row.avg_output_len / 2)
    return cost.decode_run(round(row.avg_batch_size), round(context), _NoSkew())[0] * 1e-12


class _NoSkew:
    longest = 0


if __name__ == "__main__":
    found = fit_host(sys.argv[1])
    sys.stdout.write(
        f"iteration: {found.iteration_s * 1e3:.3g}ms\nsequence: {found.sequence_s * 1e6:.3g}us\n"
        f"# {found.points} points, mean absolute error of the ITL {found.error:.1%} "
        f"(without: {found.error_without:.1%})\n"
    )
