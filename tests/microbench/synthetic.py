"""A recorded run that nobody recorded: times computed from a stated roofline, in the harness's format.

The device's name says so, and nothing made from it is kept.
"""

import json
from pathlib import Path

NAME = "Synthetic GPU 1000"
COMPUTE, BANDWIDTH, LAUNCH = 500e12, 3e12, 3e-6
EMPTY, NODE = 4e-6, 1.5e-6  # between two events, within a graph
LINK_LATENCY, LINK_BANDWIDTH = 8e-6, 50e9


def machine(**changes):
    """Return the first line of a run."""
    line = {"kind": "machine", "tokenyard_microbench": 1, "same": f"{NAME}, driver 1.0", "harness": "cuda"}
    line |= {"date": "2026-01-02T03:04:05Z", "quick": False, "device": "gpu", "gpu": NAME, "gpus": 1, "sms": 100}
    line |= {"memory_bytes": 80 * 2**30, "l2_bytes": 50_000_000, "memory_bandwidth": 3.2e12, "driver": "1.0"}
    return line | {"most_watts": 600.0} | changes


def result(op, point, seconds, *, l2="cold", library="synthetic", **changes):
    """Return a line of a result."""
    key = f"{op}|{library}|{l2}|" + ",".join(f"{name}={value}" for name, value in point.items())
    line = {"key": key, "kind": "result", "op": op, "library": library, "point": point, "l2": l2, "seconds": seconds}
    return line | {"noise": 0.002, "samples": 20, "sm_mhz": 1500, "watts": 400.0, "throttled": False} | changes


def kernel(flops, size, slower=1.0):
    """Return seconds of a kernel within a graph: the textbook roofline above a launch."""
    return slower * (LAUNCH + max(flops / COMPUTE, size / BANDWIDTH))


def alone(seconds):
    """Return what two events around a kernel show for one that takes so long within a graph."""
    return seconds - NODE + EMPTY


def products(dtype="bfloat16", rate=1.0, each=2, slower=1.0):
    """Yield matrix products of a type that is so many times as fast as bf16."""
    for n in (4096, 8192, 14336):
        for k in (4096, 8192):
            for m in (1, 8, 16, 17, 64, 65, 128, 256, 512, 1024, 4096):
                flops, size = 2 * m * n * k / rate, each * (m * k + k * n) + 2 * m * n
                point = {"dtype": dtype, "m": m, "n": n, "k": k}
                yield result("gemm", point, alone(kernel(flops, size, slower)), library="cublaslt-0.0.0")


def attention(slower=1.0, library="synthetic"):
    """Yield attention of prompts (hot) and of decodes (cold), the latter also with blocks of 64 tokens."""
    for heads, kv in ((32, 8), (8, 1)):
        shape = {"kv_dtype": "bfloat16", "attn_dtype": "bfloat16", "head_dim": 128, "window": 0}
        shape |= {"heads": heads, "kv_heads": kv}
        prompts = [(batch, new, 0) for batch in (1, 2, 4) for new in (32, 128, 512, 1024, 2048, 4096, 8192)]
        prompts += [(1, new, past) for new in (128, 512) for past in (1024, 4096, 16384)]
        for batch, new, past in prompts:
            flops, size = (
                4 * batch * heads * 128 * new * (past + new / 2),
                512 * batch * (heads * new + kv * (past + new)),
            )
            point = shape | {"batch": batch, "new": new, "past": past}
            yield result("prefill_attention", point, kernel(flops, size, slower), l2="hot", library=library)
        for batch in (1, 4, 16, 64, 128):
            for context in (128, 512, 1024, 2048, 4096, 8192):
                for block, more in ((16, 1.0), (64, 0.5)):
                    flops, size = 4 * batch * context * heads * 128, 512 * batch * context * kv
                    point = shape | {"batch": batch, "context": context, "block": block}
                    seconds = alone(kernel(flops, size, slower * more))
                    yield result("decode_attention", point, seconds, library=library)


def rest():
    """Yield launches, memory, small operators, links and power."""
    yield result("launch", {"how": "between_events", "kernels": 1}, EMPTY, l2="none")
    yield result("launch", {"how": "graph_node", "kernels": 1}, 2 * NODE, l2="none")
    yield result("launch", {"how": "graph_node", "kernels": 500}, NODE, l2="none")
    for size in (2**16, 2**24, 2**32):
        for access, moved in (("read", size), ("copy", 2 * size)):
            yield result("memory", {"access": access, "size": size}, 2e-6 + moved / BANDWIDTH)
    for part, moved in (("add_rms_norm", 4), ("silu_mul", 3), ("rotary", 2)):
        for tokens in (1, 64, 1024, 16384):
            seconds = 2e-6 + 2 * moved * tokens * 4096 / 2.5e12
            yield result("small", {"part": part, "tokens": tokens, "width": 4096}, seconds, l2="hot")
    for link, slower in (("host_to_device", 1.0), ("device_to_host", 1.25)):
        for size in (4096, 2**20, 2**28):
            yield result("link", {"link": link, "size": size}, LINK_LATENCY + slower * size / LINK_BANDWIDTH)
    yield result("power", {"load": "idle"}, 4.0, l2="none", watts=75.0)


def lines():
    """Return a whole run."""
    some = [machine(), *rest(), *products(), *products("fp8", 2.0, 1), *attention()]
    return [*some, {"kind": "note", "text": "one GPU"}, {"kind": "end", "harness": "cuda", "results": 1, "errors": 0}]


def write(path: Path, some=None) -> Path:
    """Write lines to a file and return it."""
    path.write_text("".join(json.dumps(line) + "\n" for line in (lines() if some is None else some)))
    return path
