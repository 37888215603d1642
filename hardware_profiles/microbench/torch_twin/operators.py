"""Memory, matrix products, small operators, links and launches through PyTorch."""

import time
from collections.abc import Callable

import torch
from bench import Bench, Case, Ready, capture, relative_error

_LIBRARY = f"torch-{torch.__version__.split('+')[0]}"
_EPSILON = 1e-5
_CHECKED = 64  # rows of a matrix product that are compared with a reference
_LAUNCHES = 500


def measure_memory(bench: Bench) -> None:
    """Reading (a sum), writing (a fill) and copying by size."""
    most = 16 << 20 if bench.tiny else 4 << 30
    for access in ("read", "write", "copy"):
        size = 64 << 10
        while size <= most:
            moved = size * (2 if access == "copy" else 1)
            case = Case("memory", _LIBRARY, {"access": access, "size": size}, bytes=moved)
            bench.measure(case, lambda access=access, size=size: _memory(bench, access, size))
            size *= 16 if bench.quick else 4


def _memory(bench: Bench, access: str, size: int) -> Ready:
    source = torch.rand(size // 4, device=bench.device)
    target = torch.full_like(source, torch.nan)
    total = torch.zeros((), device=bench.device)
    if access == "read":
        return Ready(
            lambda: torch.sum(source, 0, out=total), lambda: relative_error(total, source.double().sum()), 1e-3
        )
    if access == "write":
        return Ready(lambda: target.fill_(3.0), lambda: float((target != 3.0).any()), 0.0)
    return Ready(lambda: target.copy_(source), lambda: float((target != source).any()), 0.0)


def measure_gemm(bench: Bench) -> None:
    """Matrix products y = x w^T in bf16, fp8 and int8, as ``torch.mm`` and its siblings choose their kernels."""
    if bench.tiny:
        ms, ns, ks = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256], [256, 1024, 2048], [256, 1024, 2048]
    elif bench.quick:
        ms = [1, 8, 16, 17, 64, 65, 128, 129, 256, 257, 512, 1024, 2048, 4096, 8192]
        ns, ks = [4096, 8192, 14336], [4096, 8192]
    else:
        ms = [1, 2, 4, 8, 16, 17, 32, 33, 64, 65, 96, 128, 129, 192, 256, 257, 384, 512, 513, 1024, 1025, 2048, 4096]
        ms, ns, ks = [*ms, 8192], [1024, 2048, 4096, 6144, 8192, 14336, 28672], [2048, 4096, 8192, 14336]
    kinds: dict[str, Callable[[Bench, int, int, int], Ready]] = {"bfloat16": _bf16, "fp8": _fp8, "int8": _int8}
    if not bench.on_gpu:
        del kinds["fp8"], kinds["int8"]
    elif torch.cuda.get_device_capability(bench.device) < (8, 9):
        del kinds["fp8"]
        bench.note("this GPU has no fp8 matrix products")
    for dtype, prepare in kinds.items():
        each = 2 if dtype == "bfloat16" else 1
        for n in ns:
            for k in ks:
                # torch._int_mm takes no fewer rows.
                for m in [m for m in ms if dtype != "int8" or m > 16]:
                    case = Case("gemm", _LIBRARY, {"dtype": dtype, "m": m, "n": n, "k": k}, 2.0 * m * n * k)
                    case.bytes = each * (m * k + n * k) + (4 if dtype == "int8" else 2) * m * n
                    bench.measure(case, lambda p=prepare, m=m, n=n, k=k: p(bench, m, n, k))


def _bf16(bench: Bench, m: int, n: int, k: int) -> Ready:
    x, w = (torch.randn(rows, k, device=bench.device, dtype=torch.bfloat16) for rows in (m, n))
    y = torch.full((m, n), torch.nan, device=bench.device, dtype=torch.bfloat16)
    return Ready(lambda: torch.mm(x, w.T, out=y), lambda: _product_error(y, x.float(), w.float()), 1e-2)


def _fp8(bench: Bench, m: int, n: int, k: int) -> Ready:
    x, w = (torch.randn(rows, k, device=bench.device).to(torch.float8_e4m3fn) for rows in (m, n))
    one = torch.ones((), device=bench.device)
    y = torch.full((m, n), torch.nan, device=bench.device, dtype=torch.bfloat16)

    def run() -> None:
        torch._scaled_mm(x, w.T, one, one, out_dtype=torch.bfloat16, use_fast_accum=True, out=y)

    # Fast accumulation keeps fewer bits of partial sums.
    return Ready(run, lambda: _product_error(y, x.float(), w.float()), 3e-2)


def _int8(bench: Bench, m: int, n: int, k: int) -> Ready:
    x, w = (torch.randint(-60, 60, (rows, k), device=bench.device, dtype=torch.int8) for rows in (m, n))
    y = torch.zeros((m, n), device=bench.device, dtype=torch.int32)
    return Ready(lambda: torch._int_mm(x, w.T, out=y), lambda: _product_error(y, x.double(), w.double()), 1e-6)


def _product_error(y: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> float:
    rows = torch.arange(min(len(x), _CHECKED), device=x.device) * max(len(x) // _CHECKED, 1)
    return relative_error(y[rows][:, -_CHECKED:], x[rows].double() @ w[-_CHECKED:].double().T)


def measure_small(bench: Bench) -> None:
    """Residual add and RMS norm, SiLU-mul, rotary embedding: compiled on a GPU, so that each is one kernel."""
    # Few, because each is compiled for itself.
    tokens = [1, 16, 128, 1024] if bench.tiny else [1, 64, 1024, 8192]
    library = f"{_LIBRARY}-{'compile' if bench.on_gpu else 'eager'}"
    parts = {"add_rms_norm": (_norm, 4, 4096), "silu_mul": (_silu, 3, 14336), "rotary": (_rotary, 2, 5120)}
    for part, (prepare, moved, width) in parts.items():
        width = 512 if bench.tiny else width
        for count in tokens:
            case = Case("small", library, {"part": part, "tokens": count, "width": width})
            case.bytes = 2.0 * moved * count * width
            bench.measure(case, lambda p=prepare, count=count, width=width: p(bench, count, width))


def _compiled(bench: Bench, function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    if not bench.on_gpu:
        return function
    # It would stop compiling after a few shapes and run several kernels instead, unnoticed.
    torch._dynamo.reset()
    return torch.compile(function, dynamic=False)


def _ready(bench: Bench, function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> Ready:
    compiled = _compiled(bench, function)
    answers: list[torch.Tensor] = [torch.empty(0)]

    def run() -> None:
        answers[0] = compiled(*inputs)

    return Ready(run, lambda: relative_error(answers[0], function(*(each.double() for each in inputs))), 1e-2)


def _random(bench: Bench, *shape: int) -> torch.Tensor:
    return torch.randn(shape, device=bench.device, dtype=torch.bfloat16)


def _norm(bench: Bench, tokens: int, width: int) -> Ready:
    def norm(x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        total = x + residual
        wide = total.float() if total.dtype == torch.bfloat16 else total
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + _EPSILON)
        return torch.stack([total, (wide * scale * weight).to(total.dtype)])

    return _ready(bench, norm, _random(bench, tokens, width), _random(bench, tokens, width), _random(bench, width))


def _silu(bench: Bench, tokens: int, width: int) -> Ready:
    def silu(both: torch.Tensor) -> torch.Tensor:
        gate, up = both.chunk(2, -1)
        return torch.nn.functional.silu(gate) * up

    return _ready(bench, silu, _random(bench, tokens, 2 * width))


def _rotary(bench: Bench, tokens: int, width: int) -> Ready:
    def rotary(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        low, high = x.chunk(2, -1)
        c, s = table.chunk(2, -1)
        return torch.cat([low * c - high * s, high * c + low * s], -1)

    return _ready(bench, rotary, _random(bench, tokens, width // 128, 128), _random(bench, tokens, 1, 128))


def measure_links(bench: Bench) -> None:
    """Copies to and from pinned host memory, and to the next GPU."""
    if not bench.on_gpu:
        bench.note("no GPU: no links")
        return
    for link in ("host_to_device", "device_to_host", "peer"):
        if link == "peer" and torch.cuda.device_count() < 2:
            bench.note("one GPU: no links between GPUs, no all-reduce")
            return
        if link == "peer" and not torch.cuda.can_device_access_peer(0, 1):
            link = "peer_through_host"
        size = 4096
        while size <= (64 << 20 if bench.quick else 256 << 20):
            case = Case("link", "cuda-runtime", {"link": link, "size": size}, bytes=size, modes=("cold",))
            bench.measure(case, lambda link=link, size=size: _link(bench, link, size))
            size *= 16 if bench.quick else 4


def _link(bench: Bench, link: str, size: int) -> Ready:
    here = torch.randint(0, 255, (size,), device=bench.device, dtype=torch.uint8)
    host = torch.zeros(size, dtype=torch.uint8, pin_memory=True)
    source, target = here, host
    if link == "host_to_device":
        source, target = host.copy_(here), torch.zeros_like(here)
    elif link.startswith("peer"):
        target = torch.zeros(size, dtype=torch.uint8, device="cuda:1")
    wanted = source.cpu().clone()
    return Ready(lambda: target.copy_(source, non_blocking=True), lambda: float((target.cpu() != wanted).any()), 0.0)


def measure_launches(bench: Bench) -> None:
    """What starting a kernel costs: between events, from the host, in a replayed graph."""
    one = torch.zeros(1, device=bench.device)
    run = one.zero_

    def host(work: Callable[[], object], count: int = 1) -> float:
        clock = time.perf_counter if bench.on_gpu else time.thread_time
        start = clock()
        work()
        bench.wait()
        return (clock() - start) / count

    def case(how: str, kernels: int) -> Case:
        return Case("launch", _LIBRARY, {"how": how, "kernels": kernels})

    def sample(how: str, kernels: int, once: Callable[[], float]) -> None:
        if not bench.records.has(case(how, kernels).key("none")):
            bench.sample(case(how, kernels), "none", once)

    sample("round_trip", 1, lambda: host(run))
    sample("stream", _LAUNCHES, lambda: host(lambda: [run() for _ in range(_LAUNCHES)], _LAUNCHES))
    if not bench.on_gpu:
        return

    def between() -> float:
        bench.flush()
        return bench.timed(run)

    sample("between_events", 1, between)
    for kernels in (1, 50, _LAUNCHES):
        graph = capture(run, kernels)

        def node(graph: torch.cuda.CUDAGraph = graph, kernels: int = kernels) -> float:
            bench.flush()
            return bench.timed(graph.replay) / kernels

        sample("graph_node", kernels, node)
        sample("graph_round_trip", kernels, lambda graph=graph: host(graph.replay))


def measure_power(bench: Bench) -> None:
    """Power at rest, while copying memory and while multiplying matrices: means of the board's own meter."""
    if not bench.nvml.present:
        bench.note("the driver's management library cannot be loaded: no power, clocks or throttle checks")
        return
    source = torch.rand(64 << 20, device=bench.device)
    x = _random(bench, 8192, 8192)
    target, y = torch.empty_like(source), torch.empty_like(x)
    loads: dict[str, Callable[[], object]] = {
        "idle": lambda: time.sleep(0.05),
        "memory": lambda: [target.copy_(source) for _ in range(100)],
        "gemm_bfloat16": lambda: [torch.mm(x, x, out=y) for _ in range(50)],
    }
    for load, work in loads.items():
        case = Case("power", "nvml", {"load": load})
        if not bench.records.has(case.key("none")):
            _power(bench, case, work)


def _power(bench: Bench, case: Case, work: Callable[[], object]) -> None:
    """Write down the mean power of a load. The meter averages over about a second: readings count from then on."""
    readings, start, whole = [], time.perf_counter(), 2.5 if bench.quick else 4.0
    while (passed := time.perf_counter() - start) < whole:
        work()
        bench.wait()
        if passed >= 1.5:
            readings.append(bench.nvml.watts())
    record = {"kind": "result", "op": "power", "library": "nvml", "point": case.point, "l2": "none", "seconds": whole}
    record |= {"samples": len(readings), "watts": sum(readings) / len(readings), "sm_mhz": bench.nvml.sm_mhz()}
    record |= {"power_capped": bench.nvml.power_capped(), "throttled": bench.nvml.throttled()}
    bench.records.write(record, case.key("none"))
