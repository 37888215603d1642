"""Attention of prompts and decodes through PyTorch: scaled_dot_product_attention by back end, and FlexAttention."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from bench import Bench, Case, Ready, relative_error
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

_VERSION = f"torch-{torch.__version__.split('+')[0]}"
_BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
_TOLERANCE = 2e-2
_CHECKED = 16  # heads times queries that are compared with a reference
# FlexAttention is compiled for every shape, seconds each: a few show where it stands.
_FLEX_NEW, _FLEX_BATCH, _FLEX_CONTEXT = (512, 2048, 8192), (8, 64), (1024, 8192)
Shape = tuple[int, int, int]


def measure_prefill(bench: Bench) -> None:
    """Causal attention of prompts by number, new and cached tokens, heads and head size."""
    batches, news, pasts = [1, 2, 4, 8], [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192], [1024, 4096, 16384, 32768]
    if bench.tiny:
        batches, news, pasts = [1, 2, 4], [16, 32, 64, 128, 256], [256]
    elif bench.quick:
        batches, news, pasts = [1, 2, 4], [32, 64, 128, 256, 512, 1024, 2048], [1024, 4096]
    points = [(batch, new, 0) for batch in batches for new in news]
    points += [(1, new, past) for past in pasts for new in ((16, 64, 128) if bench.tiny else (128, 512, 2048))]
    for shape in _shapes(bench):
        heads, kv_heads, dim = shape
        for batch, new, past in points:
            flop = 4.0 * batch * new * (past + (new + 1) / 2) * heads * dim
            size = 2.0 * dim * (2 * batch * new * heads + 2 * batch * (past + new) * kv_heads)
            point = _point(shape) | {"batch": batch, "new": new, "past": past}
            flex = bench.on_gpu and shape == (32, 8, 128) and batch == 1 and new in _FLEX_NEW
            for library, attend in _attends(bench, causal=True, past=past > 0, flex=flex):
                case = Case("prefill_attention", library, point, flop, size)
                bench.measure(case, lambda a=attend, s=shape, b=batch, n=new, p=past: _ready(bench, a, s, b, n, p + n))


def measure_decode(bench: Bench) -> None:
    """Attention of one token a sequence over contexts in one piece each (not paged)."""
    batches, contexts = [1, 2, 4, 8, 16, 32, 64, 128, 256], [128, 512, 1024, 2048, 4096, 8192, 16384, 32768]
    if bench.tiny:
        batches, contexts = [1, 2, 4, 8, 16], [64, 128, 256, 512, 1024]
    elif bench.quick:
        batches, contexts = [1, 4, 16, 64, 128], [128, 512, 1024, 2048, 4096, 8192]
    most = torch.cuda.mem_get_info(bench.device)[0] // 3 if bench.on_gpu else 1 << 30
    for shape in _shapes(bench):
        heads, kv_heads, dim = shape
        for batch in batches:
            for context in contexts:
                size = 4.0 * batch * context * kv_heads * dim
                if size > min(most, 32 << 30):
                    continue
                point = _point(shape) | {"batch": batch, "context": context}
                flex = bench.on_gpu and shape == (32, 8, 128) and batch in _FLEX_BATCH and context in _FLEX_CONTEXT
                for library, attend in _attends(bench, causal=False, past=False, flex=flex):
                    flop = 4.0 * batch * context * heads * dim
                    case = Case("decode_attention", library, point, flop, size + 4.0 * batch * heads * dim)
                    bench.measure(case, lambda a=attend, s=shape, b=batch, c=context: _ready(bench, a, s, b, 1, c))


def _shapes(bench: Bench) -> list[Shape]:
    if bench.tiny:
        return [(8, 2, 128), (4, 4, 128), (4, 1, 128)]
    if bench.quick:
        return [(32, 8, 128), (8, 1, 128)]
    return [(32, 8, 128), (8, 2, 128), (64, 8, 128), (8, 1, 128), (32, 8, 64)]


def _point(shape: Shape) -> dict[str, Any]:
    heads, kv_heads, dim = shape
    point = {"kv_dtype": "bfloat16", "attn_dtype": "bfloat16", "head_dim": dim, "window": 0}
    return point | {"heads": heads, "kv_heads": kv_heads}


Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _attends(bench: Bench, *, causal: bool, past: bool, flex: bool) -> Iterator[tuple[str, Attend]]:
    """Yield each way to attend: q [batch, heads, new, dim], k and v [batch, kv_heads, length, dim]."""

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if past:
            # Plain is_causal would let the first new token see the first key only.
            bias = causal_lower_right(q.shape[2], k.shape[2])
            return scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=True)
        return scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)

    if not bench.on_gpu:
        yield f"{_VERSION}-cpu", attend
        return
    for name, backend in _BACKENDS.items():

        def with_backend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, own: SDPBackend = backend) -> torch.Tensor:
            with sdpa_kernel(own):
                return attend(q, k, v)

        yield f"{_VERSION}-{name}", with_backend
    if flex:
        yield f"{_VERSION}-flex", _flex(causal)


def _flex(causal: bool) -> Attend:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    # It would stop compiling after a few shapes and run the slow version instead, unnoticed.
    torch._dynamo.reset()
    compiled = torch.compile(flex_attention, dynamic=False)
    masks: dict[tuple[int, int], Any] = {}

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        new, length = q.shape[2], k.shape[2]
        if causal and (new, length) not in masks:
            past = length - new

            def sees(batch: Any, head: Any, query: Any, key: Any) -> Any:
                return query + past >= key

            masks[new, length] = create_block_mask(sees, None, None, new, length, device=q.device)
        return compiled(q, k, v, block_mask=masks.get((new, length)), enable_gqa=True)

    return attend


def _ready(bench: Bench, attend: Attend, shape: Shape, batch: int, new: int, length: int) -> Ready:
    heads, kv_heads, dim = shape
    q = torch.randn(batch, heads, new, dim, device=bench.device, dtype=torch.bfloat16)
    k, v = (torch.randn(batch, kv_heads, length, dim, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    answers: list[torch.Tensor] = [torch.empty(0)]

    def run() -> None:
        answers[0] = attend(q, k, v)

    def wrong() -> float:
        found, wanted = [], []
        for i in range(_CHECKED):
            # The last token, which sees most, and others all over.
            at, head, query = i % batch, i * 31 % heads, new - 1 if i < batch else i * 7919 % new
            seen = length - new + query + 1
            keys, values = (cache[at, head * kv_heads // heads, :seen].double() for cache in (k, v))
            weights = torch.softmax(keys @ q[at, head, query].double() / math.sqrt(dim), 0)
            wanted.append(weights @ values)
            found.append(answers[0][at, head, query])
        return relative_error(torch.stack(found), torch.stack(wanted))

    return Ready(run, wrong, _TOLERANCE)
