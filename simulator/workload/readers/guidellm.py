"""``benchmarks.json`` of GuideLLM (0.3 to 0.6): a list of benchmarks, each with its strategy and its requests.

Source: GuideLLM's schemas. Latencies are ms, but ``request_latency`` and times of sending are seconds; since 0.4 the
latter are ``request_start_time``, before ``start_time``.
"""

from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.errors import InputError
from simulator.workload.readers.benchmark_run import BenchmarkRun, in_order, real, whole

_CLOSED = {"concurrent", "synchronous"}


def read_guidellm(path: Path, report: dict[str, Any]) -> list[BenchmarkRun]:
    """Return a run for each benchmark of a file, in order; only successful requests count."""
    runs = [_run(path, index, benchmark) for index, benchmark in enumerate(report["benchmarks"])]
    if not runs:
        raise InputError("the file has no benchmarks", where=str(path))
    return runs


def _run(path: Path, index: int, benchmark: dict[str, Any]) -> BenchmarkRun:
    where = f"{path}: benchmarks[{index}]"
    requests = benchmark.get("requests") or {}
    done = requests.get("successful") if isinstance(requests, dict) else None
    if not done:
        raise InputError("no successful requests in it", where=where)
    total = ((benchmark.get("metrics") or {}).get("request_totals") or {}).get("successful", len(done))
    if total > len(done):
        raise InputError(f"the file keeps a sample of {len(done)} of {total:g} requests", where=where,
                         hint="let GuideLLM keep all requests")  # fmt: skip
    strategy = (benchmark.get("config") or {}).get("strategy") or (benchmark.get("args") or {}).get("strategy") or {}
    kind = strategy.get("type_", "")
    sent = [request.get("request_start_time", request.get("start_time")) for request in done]
    streams = strategy.get("streams") or (1 if kind == "synchronous" else None)

    def column(name: str) -> list[Any]:
        return [request.get(name) for request in done]

    output = whole(column("output_tokens"), "output_tokens", path)
    gap = real(column("inter_token_latency_ms"), "inter_token_latency_ms", path)
    return in_order(
        BenchmarkRun(
            f"{path.stem} {index} {kind}".strip(),
            whole(column("prompt_tokens"), "prompt_tokens", path),
            output,
            real(column("time_to_first_token_ms"), "time_to_first_token_ms", path),
            np.where(output > 1, gap, np.nan),
            real(column("request_latency"), "request_latency", path) * 1e3,
            concurrency=int(streams) if kind in _CLOSED and streams else None,
            sent_s=None if any(time is None for time in sent) else real(sent, "request_start_time", path),
        )
    )
