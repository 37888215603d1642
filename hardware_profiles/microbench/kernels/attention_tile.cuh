// One warp's share of attention: 16 queries against a few keys in shared memory, softmax kept up as keys pass.
#pragma once
#include "device.cuh"

// Rows of tiles in shared memory are 16 bytes longer than their data, so that 8 rows fall into different banks.
constexpr int PADDING = 8;

// What a warp knows of its 16 queries; a thread holds rows lane / 4 and lane / 4 + 8.
template <int D>
struct Attended {
    float out[D / 8][4] = {};
    float most[2] = {-INFINITY, -INFINITY};
    float sum[2] = {};
};

__device__ inline uint32_t two(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
}

// 16 rows of D elements as the left operand; rows beyond `rows` are zero.
template <int D>
__device__ inline void load_queries(uint32_t q[D / 16][4], const bf16* base, long stride, int rows) {
    const int lane = threadIdx.x % 32, row = lane / 4, column = 2 * (lane % 4);
    for (int part = 0; part < D / 16; ++part)
        for (int i = 0; i < 4; ++i) {
            const int r = row + 8 * (i % 2), c = 16 * part + column + 8 * (i / 2);
            q[part][i] = r < rows ? *reinterpret_cast<const uint32_t*>(base + r * stride + c) : 0u;
        }
}

// Attend to KEYS keys, the first of which is number `first` of its sequence; `visible` keys are seen by each of the
// thread's two rows. `scale` includes log2(e): exponentials are powers of two.
template <int D, int KEYS>
__device__ inline void attend(Attended<D>& state, const uint32_t q[D / 16][4], const bf16* keys, const bf16* values,
                              int first, const int visible[2], float scale) {
    constexpr int STRIDE = D + PADDING;
    const int lane = threadIdx.x % 32, row = lane / 4, column = 2 * (lane % 4);
    float s[KEYS / 8][4] = {};
#pragma unroll
    for (int part = 0; part < D / 16; ++part)
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n) {
            const auto* b = reinterpret_cast<const uint32_t*>(keys + (8 * n + row) * STRIDE + 16 * part + column);
            device::multiply(s[n], q[part], b[0], b[4]);
        }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float most = state.most[half];
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                float& score = s[n][2 * half + e];
                score = first + 8 * n + column + e < visible[half] ? score * scale : -INFINITY;
                most = fmaxf(most, score);
            }
        // Four neighbouring lanes hold a row.
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
        // A row that sees nothing yet would otherwise subtract infinity from itself.
        const float base = most == -INFINITY ? 0.0f : most;
        const float shrink = exp2f(state.most[half] - base);
        float sum = 0;
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
            for (int e = 0; e < 2; ++e) sum += s[n][2 * half + e] = exp2f(s[n][2 * half + e] - base);
        state.sum[half] = state.sum[half] * shrink + sum;
        state.most[half] = most;
#pragma unroll
        for (int n = 0; n < D / 8; ++n)
#pragma unroll
            for (int e = 0; e < 2; ++e) state.out[n][2 * half + e] *= shrink;
    }
#pragma unroll
    for (int part = 0; part < KEYS / 16; ++part) {
        const float *left = s[2 * part], *right = s[2 * part + 1];
        const uint32_t p[4] = {two(left[0], left[1]), two(left[2], left[3]), two(right[0], right[1]),
                               two(right[2], right[3])};
        const bf16* rows = values + (16 * part + lane % 16) * STRIDE + 8 * (lane / 16);
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
            uint32_t v[4];
            device::load_transposed(v, rows + 8 * n);
            device::multiply(state.out[n], p, v[0], v[1]);
            device::multiply(state.out[n + 1], p, v[2], v[3]);
        }
    }
}

// The sum of a row's weights is spread over four lanes until here.
template <int D>
__device__ inline void add_up(Attended<D>& state) {
    for (float& sum : state.sum) {
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    }
}
