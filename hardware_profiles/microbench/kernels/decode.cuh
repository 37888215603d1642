// Attention of one new token a sequence over a paged KV cache, each sequence split over several blocks of threads.
#pragma once
#include "attention_tile.cuh"

constexpr int DECODE_KEYS = 64, DECODE_THREADS = 128, DECODE_WARPS = 4, DECODE_GROUP = 16;

struct Decodes {
    const bf16* q;        // [batch][heads][D]
    const bf16* k;        // [blocks][block][kv_heads][D]
    const bf16* v;        // as k
    const int* table;     // [batch][table_width]: numbers of blocks
    const int* contexts;  // [batch]
    float* parts;         // [batch][heads][splits][D]: each split's output
    float* weights;       // [batch][heads][splits]: log2 of its sum of weights
    bf16* out;            // [batch][heads][D]
    int heads, kv_heads, block, table_width, splits;
    float scale;  // 1 / sqrt(D), times log2(e)
};

template <int D>
constexpr int decode_shared_bytes() {
    return 2 * 2 * DECODE_KEYS * (D + PADDING) * static_cast<int>(sizeof(bf16));
}

// Grid: (splits, kv_heads, batch). The queries of a KV head, at most 16, are the rows of a tile; each of 4 warps takes
// a quarter of its keys, and their answers are put together at the end.
template <int D>
__global__ void __launch_bounds__(DECODE_THREADS) decode_attention(Decodes work) {
    constexpr int STRIDE = D + PADDING, TILE = DECODE_KEYS * STRIDE, OWN = DECODE_KEYS / DECODE_WARPS;
    auto* pool = reinterpret_cast<bf16*>(device::dynamic_shared());
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int split = blockIdx.x, kv_head = blockIdx.y, sequence = blockIdx.z;
    const int group = work.heads / work.kv_heads, context = work.contexts[sequence];
    const int all = (context + DECODE_KEYS - 1) / DECODE_KEYS, share = (all + work.splits - 1) / work.splits;
    const int begin = split * share, end = min(begin + share, all);
    const int* table = work.table + static_cast<long>(sequence) * work.table_width;

    auto load = [&](int number) {
        bf16 *keys = pool + (number % 2) * 2 * TILE, *values = keys + TILE;
        for (int chunk = threadIdx.x; chunk < DECODE_KEYS * D / 8; chunk += DECODE_THREADS) {
            const int row = chunk / (D / 8), column = 8 * (chunk % (D / 8)), key = number * DECODE_KEYS + row;
            bf16 *to_key = keys + row * STRIDE + column, *to_value = values + row * STRIDE + column;
            if (key < context) {
                const long slot = static_cast<long>(table[key / work.block]) * work.block + key % work.block;
                const long from = (slot * work.kv_heads + kv_head) * D + column;
                device::copy_async(to_key, work.k + from);
                device::copy_async(to_value, work.v + from);
            } else {
                *reinterpret_cast<uint4*>(to_key) = *reinterpret_cast<uint4*>(to_value) = uint4{0, 0, 0, 0};
            }
        }
        device::end_copies();
    };

    Attended<D> state;
    uint32_t q[D / 16][4];
    const long head = static_cast<long>(sequence) * work.heads + static_cast<long>(kv_head) * group;
    load_queries<D>(q, work.q + head * D, D, group);
    const int visible[2] = {context, context};
    if (begin < end) load(begin);
    for (int number = begin; number < end; ++number) {
        if (number + 1 < end) {
            load(number + 1);
            device::wait_copies<1>();
        } else {
            device::wait_copies<0>();
        }
        __syncthreads();
        const bf16* keys = pool + (number % 2) * 2 * TILE + OWN * warp * STRIDE;
        attend<D, OWN>(state, q, keys, keys + TILE, number * DECODE_KEYS + OWN * warp, visible, work.scale);
        __syncthreads();
    }
    add_up(state);

    // From here on the pool holds each warp's output, and which power of two and sum it goes with.
    auto* outs = reinterpret_cast<float*>(pool);
    float *mosts = outs + DECODE_WARPS * DECODE_GROUP * D, *sums = mosts + DECODE_WARPS * DECODE_GROUP;
    for (int half = 0; half < 2; ++half) {
        const int r = DECODE_GROUP * warp + lane / 4 + 8 * half;
        for (int n = 0; n < D / 8; ++n)
            for (int e = 0; e < 2; ++e) outs[r * D + 8 * n + 2 * (lane % 4) + e] = state.out[n][2 * half + e];
        mosts[r] = state.most[half];
        sums[r] = state.sum[half];
    }
    __syncthreads();
    for (int at = threadIdx.x; at < group * D; at += DECODE_THREADS) {
        const int r = at / D, column = at % D;
        float most = -INFINITY, sum = 0, out = 0;
        for (int w = 0; w < DECODE_WARPS; ++w) most = fmaxf(most, mosts[DECODE_GROUP * w + r]);
        for (int w = 0; w < DECODE_WARPS && most != -INFINITY; ++w) {
            const float part = exp2f(mosts[DECODE_GROUP * w + r] - most);
            sum += part * sums[DECODE_GROUP * w + r];
            out += part * outs[(DECODE_GROUP * w + r) * D + column];
        }
        const long place = (head + r) * work.splits + split;
        work.parts[place * D + column] = sum > 0 ? out / sum : 0.0f;
        if (column == 0) work.weights[place] = sum > 0 ? most + log2f(sum) : -INFINITY;
    }
}

// Grid: (heads, batch), D threads: put a head's splits together.
template <int D>
__global__ void __launch_bounds__(D) combine_splits(Decodes work) {
    const long head = static_cast<long>(blockIdx.y) * work.heads + blockIdx.x, first = head * work.splits;
    float most = -INFINITY, sum = 0, out = 0;
    for (int split = 0; split < work.splits; ++split) most = fmaxf(most, work.weights[first + split]);
    for (int split = 0; split < work.splits; ++split) {
        const float part = exp2f(work.weights[first + split] - most);
        sum += part;
        out += part * work.parts[(first + split) * D + threadIdx.x];
    }
    work.out[head * D + threadIdx.x] = __float2bfloat16(out / sum);
}
