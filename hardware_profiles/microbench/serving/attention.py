"""Attention over a paged KV cache: prompts through PyTorch, decodes through a kernel of our own where Triton is.

The cache of a layer is [slots, 2 x kv heads, head size]: keys, then values; a block is so many slots in a row.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

Tensor: TypeAlias = torch.Tensor


class Pages(NamedTuple):
    """Where decoding requests' KV is: their ``rows`` of ``table`` (block numbers), ``lengths`` and the longest."""

    table: Tensor
    rows: Tensor
    lengths: Tensor
    longest: int
    block_size: int


def attend_prompt(q: Tensor, cache: Tensor, blocks: Tensor, past: int, block_size: int) -> Tensor:
    """Return causal attention [new, heads, size] of a chunk after ``past`` tokens; its own KV is in the cache already.

    The request's KV is gathered into one piece first.
    """
    length, kv_heads = past + len(q), cache.shape[1] // 2
    both = _gathered(cache, blocks, block_size)[:length].transpose(0, 1)[None]
    k, v = both[:, :kv_heads], both[:, kv_heads:]
    queries = q.transpose(0, 1)[None]
    if past == 0:
        out = scaled_dot_product_attention(queries, k, v, is_causal=True, enable_gqa=True)
    else:
        # Plain is_causal would let the first new token see the first key only.
        bias = causal_lower_right(len(q), length)
        out = scaled_dot_product_attention(queries, k, v, attn_mask=bias, enable_gqa=True)
    return out[0].transpose(0, 1)


def attend_decodes(q: Tensor, cache: Tensor, pages: Pages) -> Tensor:
    """Return attention [requests, heads, size] of one token each, gathering all contexts padded to the longest."""
    kv_heads, size = cache.shape[1] // 2, pages.block_size
    blocks = pages.table[pages.rows, : -(-pages.longest // size)]
    both = _gathered(cache, blocks.flatten(), size).unflatten(0, (len(q), -1)).transpose(1, 2)
    seen = torch.arange(both.shape[2], device=q.device) < pages.lengths[:, None]
    k, v = both[:, :kv_heads], both[:, kv_heads:]
    out = scaled_dot_product_attention(q[:, :, None], k, v, attn_mask=seen[:, None, None], enable_gqa=True)
    return out[:, :, 0]


def _gathered(cache: Tensor, blocks: Tensor, size: int) -> Tensor:
    """Return the slots of some blocks in one piece."""
    return cache.view(-1, size * cache.shape[1] * cache.shape[2]).index_select(0, blocks).view(-1, *cache.shape[1:])


def paged_kernel(multiprocessors: int) -> Callable[[Tensor, Tensor, Pages], Tensor]:
    """Return ``attend_decodes`` as a kernel that reads blocks where they are, and that a CUDA graph can hold.

    Each context is cut into as many pieces as keep this many multiprocessors busy, whatever its length. ImportError
    without Triton.
    """
    from serving.paged_decode import combine, decode_piece

    def attend(q: Tensor, cache: Tensor, pages: Pages) -> Tensor:
        requests, heads, size = q.shape
        kv_heads = cache.shape[1] // 2
        pieces = max(1, min(32, 2 * multiprocessors // (requests * kv_heads)))
        partial = q.new_empty(requests, heads, pieces, size, dtype=torch.float32)
        weight = q.new_empty(requests, heads, pieces, dtype=torch.float32)
        common: dict[str, Any] = {"HEADS": heads, "KV_HEADS": kv_heads, "SIZE": size, "PIECES": pieces}
        group = max(16, 1 << (heads // kv_heads - 1).bit_length())
        decode_piece[(requests, kv_heads, pieces)](
            q, cache, pages.table, pages.rows, pages.lengths, partial, weight, size**-0.5, q.stride(0),
            pages.table.stride(0), BLOCK=pages.block_size, GROUP=group, TILE=64, **common,
        )  # fmt: skip
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        combine[(requests, heads)](partial, weight, out, PADDED=1 << (pieces - 1).bit_length(), **common)
        return out

    return attend
