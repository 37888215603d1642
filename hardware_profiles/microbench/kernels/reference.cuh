// Slow and plain kernels, in float, that fast ones and libraries are checked against.
#pragma once
#include "device.cuh"

constexpr int REFERENCE_THREADS = 128;

// One attended row: query `query` of q's rows, head `head`, over the first `keys` keys of sequence `sequence`.
struct AttendedRow {
    int query, head, sequence, keys;
};

struct PlainAttention {
    const bf16* q;  // [queries][heads][D]
    const bf16* k;  // [blocks][block][kv_heads][D]; a cache in one piece is one whose blocks are whole sequences
    const bf16* v;
    const int* table;  // [sequences][table_width]
    const AttendedRow* rows;
    float* scores;  // [rows][most_keys]: scratch
    float* out;     // [rows][D]
    int heads, kv_heads, dim, block, table_width, most_keys;
    float scale;  // 1 / sqrt(D)
};

// Grid: rows. The whole softmax in two passes, each sum in one thread.
[[maybe_unused]] static __global__ void __launch_bounds__(REFERENCE_THREADS) plain_attention(PlainAttention work) {
    __shared__ float shared[REFERENCE_THREADS];
    const AttendedRow row = work.rows[blockIdx.x];
    const int kv_head = row.head / (work.heads / work.kv_heads);
    const int* table = work.table + static_cast<long>(row.sequence) * work.table_width;
    const bf16* q = work.q + (static_cast<long>(row.query) * work.heads + row.head) * work.dim;
    float* scores = work.scores + static_cast<long>(blockIdx.x) * work.most_keys;
    auto place = [&](int key) {
        const long slot = static_cast<long>(table[key / work.block]) * work.block + key % work.block;
        return (slot * work.kv_heads + kv_head) * work.dim;
    };
    float most = -INFINITY;
    for (int key = threadIdx.x; key < row.keys; key += REFERENCE_THREADS) {
        const bf16* k = work.k + place(key);
        float score = 0;
        for (int d = 0; d < work.dim; ++d) score += __bfloat162float(q[d]) * __bfloat162float(k[d]);
        scores[key] = score * work.scale;
        most = fmaxf(most, scores[key]);
    }
    shared[threadIdx.x] = most;
    __syncthreads();
    for (int i = 0; i < REFERENCE_THREADS; ++i) most = fmaxf(most, shared[i]);
    for (int column = threadIdx.x; column < work.dim; column += REFERENCE_THREADS) {
        float sum = 0, out = 0;
        for (int key = 0; key < row.keys; ++key) {
            const float weight = expf(scores[key] - most);
            sum += weight;
            out += weight * __bfloat162float(work.v[place(key) + column]);
        }
        work.out[static_cast<long>(blockIdx.x) * work.dim + column] = out / sum;
    }
}

// Sampled elements of y = x w^T: one warp each, x [m][k], w [n][k], places (row, column).
template <typename Element, typename Convert>
[[maybe_unused]] static __global__ void plain_products(const Element* x, const Element* w, const int2* places,
                                                       int count, int k, float* out, Convert convert) {
    const int place = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (place >= count) return;
    const Element* a = x + static_cast<long>(places[place].x) * k;
    const Element* b = w + static_cast<long>(places[place].y) * k;
    float sum = 0;
    for (int i = lane; i < k; i += 32) sum += convert(a[i]) * convert(b[i]);
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (lane == 0) out[place] = sum;
}
