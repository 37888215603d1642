"""Result files of ``vllm bench serve --save-result --save-detailed`` (vLLM 0.9 to 0.19).

Source: ``vllm/benchmarks/serve.py``; times are seconds, ``start_times`` (since 0.11) a monotonic clock's.
"""

from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.errors import InputError
from simulator.workload.readers.benchmark_run import BenchmarkRun, in_order, real, whole

KEYS = ("request_throughput", "total_input_tokens")
_DETAILS = ("input_lens", "output_lens", "ttfts", "itls")


def read_vllm_bench(path: Path, result: dict[str, Any]) -> list[BenchmarkRun]:
    """Return the one run of a file; requests that failed (an error, or no output) are left out."""
    if missing := [key for key in _DETAILS if not isinstance(result.get(key), list)]:
        raise InputError(f"no '{missing[0]}': the file has no single requests", where=str(path),
                         hint="run vllm bench serve with --save-detailed")  # fmt: skip
    lengths = {len(result[key]) for key in _DETAILS}
    if len(lengths) > 1:
        raise InputError("input_lens, output_lens, ttfts and itls differ in length", where=str(path))
    errors = result.get("errors") or [""] * len(result["input_lens"])
    kept = np.array([not error and bool(output) for error, output in zip(errors, result["output_lens"], strict=True)])
    if not kept.any():
        raise InputError("no request completed", where=str(path))

    def column(key: str) -> list[Any]:
        return [value for value, keep in zip(result[key], kept, strict=True) if keep]

    output = whole(column("output_lens"), "output_lens", path)
    ttft = real(column("ttfts"), "ttfts", path) * 1e3
    spent = np.array([sum(gaps) for gaps in column("itls")], np.float64) * 1e3
    rate = _rate(result.get("request_rate"))
    starts = result.get("start_times")
    return [
        in_order(
            BenchmarkRun(
                path.stem,
                whole(column("input_lens"), "input_lens", path),
                output,
                ttft,
                np.where(output > 1, spent / np.maximum(output - 1, 1), np.nan),
                ttft + spent,
                # With a rate as well, the client is only sometimes the bottleneck: its times of sending say when.
                concurrency=result.get("max_concurrency") if rate is None else None,
                sent_s=None if starts is None else real(column("start_times"), "start_times", path),
                rate=rate,
                burstiness=float(result.get("burstiness") or 1.0),
            )
        )
    ]


def _rate(value: Any) -> float | None:
    """Return a finite request rate; ``inf`` (also as text) means none was set."""
    rate = float(value) if value is not None else float("inf")
    return rate if np.isfinite(rate) else None
