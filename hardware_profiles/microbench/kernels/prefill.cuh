// Causal attention of prompts in one piece of memory: new tokens attend to those before them and to each other.
#pragma once
#include "attention_tile.cuh"

constexpr int PREFILL_QUERIES = 64, PREFILL_KEYS = 64, PREFILL_THREADS = 128;

struct Prompt {
    const bf16* q;  // [batch][fresh][heads][D]
    const bf16* k;  // [batch][past + fresh][kv_heads][D]
    const bf16* v;
    bf16* out;  // as q
    int fresh, past, heads, kv_heads;
    float scale;  // 1 / sqrt(D), times log2(e)
};

template <int D>
constexpr int prefill_shared_bytes() {
    return 2 * 2 * PREFILL_KEYS * (D + PADDING) * static_cast<int>(sizeof(bf16));
}

// Grid: (query tiles, heads, batch). Each of 4 warps has 16 queries; all share the keys, two tiles of which are in
// shared memory: one in use, one on its way.
template <int D>
__global__ void __launch_bounds__(PREFILL_THREADS) prefill_attention(Prompt prompt) {
    constexpr int STRIDE = D + PADDING, TILE = PREFILL_KEYS * STRIDE;
    auto* pool = reinterpret_cast<bf16*>(device::dynamic_shared());
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    // The longest rows first: the last blocks to run are then the short ones.
    const int tile = gridDim.x - 1 - blockIdx.x, head = blockIdx.y, sequence = blockIdx.z;
    const int length = prompt.past + prompt.fresh, kv_head = head / (prompt.heads / prompt.kv_heads);
    const int query = tile * PREFILL_QUERIES + 16 * warp;
    const long key_stride = static_cast<long>(prompt.kv_heads) * D, query_stride = static_cast<long>(prompt.heads) * D;
    const long keys_at = static_cast<long>(sequence) * length * key_stride + static_cast<long>(kv_head) * D;
    const long queries_at =
        (static_cast<long>(sequence) * prompt.fresh + query) * query_stride + static_cast<long>(head) * D;

    auto load = [&](int number) {
        bf16 *keys = pool + (number % 2) * 2 * TILE, *values = keys + TILE;
        for (int chunk = threadIdx.x; chunk < PREFILL_KEYS * D / 8; chunk += PREFILL_THREADS) {
            const int row = chunk / (D / 8), column = 8 * (chunk % (D / 8)), key = number * PREFILL_KEYS + row;
            bf16 *to_key = keys + row * STRIDE + column, *to_value = values + row * STRIDE + column;
            if (key < length) {
                const long from = keys_at + key * key_stride + column;
                device::copy_async(to_key, prompt.k + from);
                device::copy_async(to_value, prompt.v + from);
            } else {
                // Weights there are 0, but 0 times what memory happens to hold may be no number.
                *reinterpret_cast<uint4*>(to_key) = *reinterpret_cast<uint4*>(to_value) = uint4{0, 0, 0, 0};
            }
        }
        device::end_copies();
    };

    Attended<D> state;
    uint32_t q[D / 16][4];
    load_queries<D>(q, prompt.q + queries_at, query_stride, prompt.fresh - query);
    const int row = query + lane / 4;
    const int visible[2] = {prompt.past + row + 1, prompt.past + row + 9};
    const int last = min(prompt.past + (tile + 1) * PREFILL_QUERIES, length);
    const int tiles = (last + PREFILL_KEYS - 1) / PREFILL_KEYS;
    load(0);
    for (int number = 0; number < tiles; ++number) {
        if (number + 1 < tiles) {
            load(number + 1);
            device::wait_copies<1>();
        } else {
            device::wait_copies<0>();
        }
        __syncthreads();
        const bf16* keys = pool + (number % 2) * 2 * TILE;
        attend<D, PREFILL_KEYS>(state, q, keys, keys + TILE, number * PREFILL_KEYS, visible, prompt.scale);
        __syncthreads();
    }
    add_up(state);
    for (int half = 0; half < 2; ++half) {
        const int r = lane / 4 + 8 * half;
        if (query + r >= prompt.fresh) continue;
        bf16* to = prompt.out + queries_at + r * query_stride + 2 * (lane % 4);
        const float share = 1 / state.sum[half];
        for (int n = 0; n < D / 8; ++n)
            *reinterpret_cast<uint32_t*>(to + 8 * n) =
                two(state.out[n][2 * half] * share, state.out[n][2 * half + 1] * share);
    }
}
