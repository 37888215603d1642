"""Paged decode attention in Triton: each piece of a context on its own, then all pieces together (flash decoding)."""

# ruff: noqa: ANN001, ANN201 - Triton takes annotations for types of its own
import triton
import triton.language as tl


@triton.jit
def decode_piece(
    q, cache, table, rows, lengths, partial, weight, scale, q_stride, table_stride,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, SIZE: tl.constexpr, PIECES: tl.constexpr,
    BLOCK: tl.constexpr, GROUP: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Attend from the query heads of one KV head of one request to one piece of its context.

    ``partial`` gets the piece's output, ``weight`` the logarithm of its softmax's sum; -inf for an empty piece.
    """
    request, kv_head, piece = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + request).to(tl.int32)
    blocks = table + tl.load(rows + request) * table_stride
    each = tl.cdiv(tl.cdiv(length, PIECES), TILE) * TILE
    begin = piece * each
    end = tl.minimum(begin + each, length)
    member, column = tl.arange(0, GROUP), tl.arange(0, SIZE)
    own = member < HEADS // KV_HEADS
    head = kv_head * (HEADS // KV_HEADS) + member
    query = tl.load(q + request * q_stride + head[:, None] * SIZE + column[None, :], mask=own[:, None], other=0.0)
    most = tl.full([GROUP], float("-inf"), tl.float32)
    total = tl.zeros([GROUP], tl.float32)
    answer = tl.zeros([GROUP, SIZE], tl.float32)
    for start in range(begin, end, TILE):
        at = start + tl.arange(0, TILE)
        there = at < end
        block = tl.load(blocks + at // BLOCK, mask=there, other=0).to(tl.int64)
        slot = (block * BLOCK + at % BLOCK) * (2 * KV_HEADS * SIZE) + kv_head * SIZE
        k = tl.load(cache + slot[:, None] + column[None, :], mask=there[:, None], other=0.0)
        score = tl.where(there[None, :], tl.dot(query, tl.trans(k)) * scale, float("-inf"))
        higher = tl.maximum(most, tl.max(score, 1))
        share = tl.exp(score - higher[:, None])
        shrink = tl.exp(most - higher)
        v = tl.load(cache + slot[:, None] + KV_HEADS * SIZE + column[None, :], mask=there[:, None], other=0.0)
        answer = answer * shrink[:, None] + tl.dot(share.to(v.dtype), v)
        total = total * shrink + tl.sum(share, 1)
        most = higher
    place = (request * HEADS + head) * PIECES + piece
    answer = answer / tl.where(total > 0, total, 1.0)[:, None]
    tl.store(partial + place[:, None] * SIZE + column[None, :], answer, mask=own[:, None])
    tl.store(weight + place, tl.where(total > 0, most + tl.log(total), float("-inf")), mask=own)


@triton.jit
def combine(
    partial, weight, out,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, SIZE: tl.constexpr, PIECES: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """Add up the pieces of one head of one request by their weights."""
    place = (tl.program_id(0) * HEADS + tl.program_id(1)).to(tl.int64)
    piece, column = tl.arange(0, PADDED), tl.arange(0, SIZE)
    there = piece < PIECES
    share = tl.load(weight + place * PIECES + piece, mask=there, other=float("-inf"))
    share = tl.exp(share - tl.max(share, 0))
    parts = tl.load(
        partial + (place * PIECES + piece[:, None]) * SIZE + column[None, :], mask=there[:, None], other=0.0
    )
    answer = tl.sum(parts * share[:, None], 0) / tl.sum(share, 0)
    tl.store(out + place * SIZE + column, answer.to(out.dtype.element_ty))
