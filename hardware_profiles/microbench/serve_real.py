"""Serve a trace with a real, small engine on one GPU (or a processor), and record what happened.

A Llama-like shape with random weights, continuous batching after vLLM's V1 scheduler, a paged KV cache, CUDA graphs
for decodes. Needs PyTorch and nothing else. Exits 0 when done, 1 without a GPU or memory for it, 2 for what cannot be
served, 130 when interrupted; what was finished stays.

Example: python serve_real.py --trace trace.csv --shape llama-3.1-8b --rates 4,8 --seconds 60 --out served
"""

import argparse
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.loop import Clock, ProcessorClock, serve
from serving.record import Recorder
from serving.scheduler import Scheduler, Served
from serving.shapes import KNOWN, kv_bytes, load_shape
from serving.trace import Row, choose, read_trace

if TYPE_CHECKING:
    from serving.runner import TorchRunner

_CPU_BLOCKS = 1024
_LEAD = 0.2  # seconds between the engine being ready and the first arrival


class CannotServe(Exception):
    """A mistake in what was asked for."""


@dataclass
class Engine:
    """What is served with: a runner that is warm, and what to write down of it."""

    runner: "TorchRunner"
    blocks: int
    meta: dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do all of it and return the exit code; progress and problems go to stderr."""
    options = _options(arguments)
    try:
        import torch
    except ModuleNotFoundError:
        return _fail("PyTorch is not installed for this Python: pip install torch", 1)
    if options.device == "gpu" and not torch.cuda.is_available():
        return _fail("no GPU can be used: PyTorch sees none (--device cpu --shape tiny serves on this processor)", 1)
    try:
        shape = load_shape(options.shape)
        loads = _loads(options, shape)
        engine = _engine(options, shape, loads)
        for name, rows in loads.items():
            _serve(options, engine, name, rows)
    except (CannotServe, ValueError) as problem:
        return _fail(str(problem), 2)
    except ImportError as problem:
        return _fail(f"{problem}; on a GPU Triton is needed, which PyTorch's builds for CUDA bring along", 1)
    except torch.OutOfMemoryError as problem:
        hint = "a smaller --shape, --max-num-batched-tokens or --gpu-memory-utilization needs less"
        return _fail(f"the GPU's memory is too small: {str(problem).splitlines()[0]}; {hint}", 1)
    except KeyboardInterrupt:
        return _fail(f"interrupted; what was finished is in {options.out}", 130)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serve_real.py", description="Serve a trace on a real engine, and record it.")
    add = parser.add_argument
    add("--trace", type=Path, required=True, help="CSV of arrival, prompt, output (or Azure's columns)")
    add("--out", type=Path, required=True, help="a folder; every load becomes a run in it")
    add("--shape", default="llama-3.1-8b", help=f"{', '.join(KNOWN)}, or the path of a config.json")
    add("--device", choices=["gpu", "cpu"], default="gpu")
    add("--rates", default="", help="requests/s to scale the trace to, separated by commas; default: as it is")
    add("--seconds", type=float, help="serve only what arrives within so many seconds")
    add("--skip", type=int, default=0, help="requests of the trace to leave out at its start")
    add("--requests", type=int, help="requests of it to take")
    add("--max-num-seqs", type=int, default=256)
    add("--max-num-batched-tokens", type=int, default=2048)
    add("--block-size", type=int, default=16)
    add("--kv-blocks", type=int, help=f"default: what memory holds; on a processor {_CPU_BLOCKS}")
    add("--gpu-memory-utilization", type=float, default=0.9)
    add("--async-scheduling", action=argparse.BooleanOptionalAction, help="plan ahead; default: on a GPU")
    options = parser.parse_args(arguments)
    try:
        options.rates = [float(rate) for rate in options.rates.split(",") if rate]
    except ValueError:
        parser.error(f"--rates: '{options.rates}' is no list of numbers")
    if any(rate <= 0 for rate in options.rates):
        parser.error("--rates: requests/s are above 0")
    if not 1 <= options.max_num_seqs <= options.max_num_batched_tokens:
        parser.error("--max-num-seqs must be at least 1 and at most --max-num-batched-tokens")
    if options.async_scheduling is None:
        options.async_scheduling = options.device == "gpu"
    return options


def _loads(options: argparse.Namespace, shape: dict[str, Any]) -> dict[str, list[Row]]:
    """Return the requests of each run by its name; CannotServe for one the shape is too short for."""
    rows = read_trace(options.trace)
    loads = {}
    for rate in options.rates or [None]:
        name = "as_recorded" if rate is None else f"rate_{rate:g}"
        loads[name] = choose(rows, skip=options.skip, requests=options.requests, rate=rate, seconds=options.seconds)
    most = shape["max_position_embeddings"]
    for row in (row for chosen in loads.values() for row in chosen):
        if row.prompt + row.output > most:
            raise CannotServe(f"a request has {row.prompt} + {row.output} tokens, {options.shape} takes {most}")
    return loads


def _engine(options: argparse.Namespace, shape: dict[str, Any], loads: dict[str, list[Row]]) -> Engine:
    """Make the model and its KV cache and warm everything up."""
    import torch
    from serving.llama import Llama
    from serving.runner import TorchRunner

    torch.manual_seed(1)
    on_gpu = options.device == "gpu"
    if not on_gpu:
        # Time is this thread's then; see ProcessorClock.
        torch.set_num_threads(1)
    _say(f"making {options.shape} with random weights")
    request = max(row.prompt + row.output for rows in loads.values() for row in rows)
    longest = max(request, options.max_num_batched_tokens)
    device = torch.device("cuda:0" if on_gpu else "cpu")
    # Every load numbers its requests from 0.
    model = Llama(shape, max(map(len, loads.values())), longest, options.block_size, device)
    runner = TorchRunner(model)
    trial = -(-options.max_num_batched_tokens // options.block_size)
    model.allocate(trial)
    for tokens in (1, 2, 100, options.max_num_batched_tokens, options.max_num_batched_tokens):
        # One token is compiled for itself, the next number for all others; the last is what serving takes at most.
        runner.try_out(min(tokens, options.max_num_batched_tokens), min(tokens, options.max_num_seqs))
    if on_gpu:
        runner.capture(options.max_num_seqs)
    blocks = options.kv_blocks or (_blocks_left(options, shape, trial) if on_gpu else _CPU_BLOCKS)
    needed = -(-request // options.block_size)
    if needed > blocks - 1:
        fix = "leave --kv-blocks out" if options.kv_blocks else "a higher --gpu-memory-utilization holds more"
        raise CannotServe(f"the KV cache is too small: a request needs {needed} blocks, there are {blocks - 1}; {fix}")
    _say(f"KV cache: {blocks} blocks of {options.block_size} tokens")
    model.allocate(blocks)
    if on_gpu:
        # The cache lies elsewhere now, and a graph keeps addresses.
        runner.capture(options.max_num_seqs)
    return Engine(runner, blocks, _meta(options, shape, blocks))


def _blocks_left(options: argparse.Namespace, shape: dict[str, Any], trial: int) -> int:
    """Return how many blocks the GPU holds besides weights and the largest iteration, as vLLM counts them."""
    import torch

    free, total = torch.cuda.mem_get_info()
    beside = total - free - torch.cuda.memory_reserved()
    block = options.block_size * kv_bytes(shape)
    used = torch.cuda.max_memory_allocated() - trial * block
    blocks = int((options.gpu_memory_utilization * total - beside - used) // block)
    if blocks < 2:
        raise CannotServe(f"{options.gpu_memory_utilization:.0%} of the GPU's memory leave nothing for a KV cache")
    return blocks


def _meta(options: argparse.Namespace, shape: dict[str, Any], blocks: int) -> dict[str, Any]:
    import torch

    gpu = torch.cuda.get_device_properties(0) if options.device == "gpu" else None
    own = gpu.name if gpu else platform.processor() or platform.machine()
    return {
        "model": options.shape,
        "server": "serve_real",
        "engine_kwargs": {
            "tensor_parallel_size": 1,
            "max_num_seqs": options.max_num_seqs,
            "max_num_batched_tokens": options.max_num_batched_tokens,
            "max_model_len": shape["max_position_embeddings"],
        },
        "kv_cache": {
            "num_gpu_blocks": blocks,
            "block_size": options.block_size,
            "enable_prefix_caching": False,
            "gpu_memory_utilization": options.gpu_memory_utilization,
        },
        "resolved_config": {"scheduler_config": {"async_scheduling": options.async_scheduling}},
        "hardware": {
            "device_name": own,
            "device_total_memory_bytes": gpu.total_memory if gpu else None,
            "torch_version": torch.__version__,
            "cuda_version": torch.version.cuda,
        },
        "clock": "monotonic" if gpu else "processor time of one thread, waiting skipped",
        "decode_attention": "paged, Triton" if gpu else "gathered, scaled_dot_product_attention",
        "prompt_attention": "gathered, scaled_dot_product_attention",
        "config": shape,
        "command": " ".join(sys.argv),
    }


def _serve(options: argparse.Namespace, engine: Engine, name: str, rows: Sequence[Row]) -> None:
    """Serve one load and record it."""
    scheduler = Scheduler(
        blocks=engine.blocks,
        block_size=options.block_size,
        max_num_seqs=options.max_num_seqs,
        max_num_batched_tokens=options.max_num_batched_tokens,
    )
    _say(f"{name}: {len(rows)} requests within {rows[-1].arrival:.1f} s")
    clock = Clock() if options.device == "gpu" else ProcessorClock()
    begin = clock.now() + _LEAD
    requests = [Served(at, begin + row.arrival, row.prompt, row.output) for at, row in enumerate(rows)]
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    meta = engine.meta | {"trace": options.trace.name, "load": name, "asked": len(rows), "started_at": started}
    with Recorder(options.out / name, meta, wall=time.time() - clock.now()) as recorder:
        serve(requests, scheduler, engine.runner, clock, recorder, depth=1 + options.async_scheduling)
    _say(f"{name}: {recorder.requests} done in {clock.now() - begin:.1f} s, {recorder.iterations} iterations")


def _fail(problem: str, status: int) -> int:
    _say(problem)
    return status


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
