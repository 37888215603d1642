// Memory-bound operators of a transformer layer, in bf16: each reads its inputs once and writes its outputs once.
#pragma once
#include "device.cuh"

constexpr int SMALL_THREADS = 256;

// Eight neighbours at a time, as floats.
struct Eight {
    float value[8];
};

__device__ inline Eight read_eight(const bf16* from) {
    const uint4 raw = *reinterpret_cast<const uint4*>(from);
    const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(&raw);
    Eight eight;
    for (int i = 0; i < 4; ++i) {
        const float2 pair = __bfloat1622float2(pairs[i]);
        eight.value[2 * i] = pair.x;
        eight.value[2 * i + 1] = pair.y;
    }
    return eight;
}

__device__ inline void write_eight(bf16* to, const Eight& eight) {
    uint4 raw;
    auto* pairs = reinterpret_cast<__nv_bfloat162*>(&raw);
    for (int i = 0; i < 4; ++i) pairs[i] = __floats2bfloat162_rn(eight.value[2 * i], eight.value[2 * i + 1]);
    *reinterpret_cast<uint4*>(to) = raw;
}

// Grid: tokens. residual_out = x + residual; out = that, normed to mean square 1, times weight. The sum is kept in
// shared memory between the two passes: width floats.
[[maybe_unused]] static __global__ void __launch_bounds__(SMALL_THREADS)
    add_rms_norm(const bf16* x, const bf16* residual, const bf16* weight, bf16* residual_out, bf16* out, int width,
                 float epsilon) {
    __shared__ float squares[SMALL_THREADS / 32];
    auto* sums = reinterpret_cast<float*>(device::dynamic_shared());
    const long row = static_cast<long>(blockIdx.x) * width;
    float square = 0;
    for (int at = 8 * threadIdx.x; at < width; at += 8 * SMALL_THREADS) {
        Eight a = read_eight(x + row + at);
        const Eight b = read_eight(residual + row + at);
        for (int i = 0; i < 8; ++i) {
            a.value[i] += b.value[i];
            sums[at + i] = a.value[i];
            square += a.value[i] * a.value[i];
        }
        write_eight(residual_out + row + at, a);
    }
    for (int step = 16; step > 0; step /= 2) square += __shfl_xor_sync(0xffffffffu, square, step);
    if (threadIdx.x % 32 == 0) squares[threadIdx.x / 32] = square;
    __syncthreads();
    float total = 0;
    for (float each : squares) total += each;
    const float scale = rsqrtf(total / width + epsilon);
    for (int at = 8 * threadIdx.x; at < width; at += 8 * SMALL_THREADS) {
        Eight a = read_eight(weight + at);
        for (int i = 0; i < 8; ++i) a.value[i] *= sums[at + i] * scale;
        write_eight(out + row + at, a);
    }
}

// Grid: tokens. in [tokens][2 width]: out = silu(first half) times second half.
[[maybe_unused]] static __global__ void __launch_bounds__(SMALL_THREADS)
    silu_mul(const bf16* in, bf16* out, int width) {
    const bf16* row = in + static_cast<long>(blockIdx.x) * 2 * width;
    for (int at = 8 * threadIdx.x; at < width; at += 8 * SMALL_THREADS) {
        Eight gate = read_eight(row + at);
        const Eight up = read_eight(row + width + at);
        for (int i = 0; i < 8; ++i) gate.value[i] *= up.value[i] / (1 + expf(-gate.value[i]));
        write_eight(out + static_cast<long>(blockIdx.x) * width + at, gate);
    }
}

// Grid: tokens. Rotate both halves of each head: in and out [tokens][heads][dim]; table [positions][dim]: cosines, then
// sines.
[[maybe_unused]] static __global__ void __launch_bounds__(SMALL_THREADS)
    rotate(const bf16* in, bf16* out, const bf16* table, const int* positions, int heads, int dim) {
    const int half = dim / 2, each = half / 8;
    const long row = static_cast<long>(blockIdx.x) * heads * dim;
    const bf16* angle = table + static_cast<long>(positions[blockIdx.x]) * dim;
    for (int chunk = threadIdx.x; chunk < heads * each; chunk += SMALL_THREADS) {
        const int column = 8 * (chunk % each);
        const long at = row + static_cast<long>(chunk / each) * dim + column;
        const Eight a = read_eight(in + at), b = read_eight(in + at + half);
        const Eight c = read_eight(angle + column), s = read_eight(angle + half + column);
        Eight low, high;
        for (int i = 0; i < 8; ++i) {
            low.value[i] = a.value[i] * c.value[i] - b.value[i] * s.value[i];
            high.value[i] = b.value[i] * c.value[i] + a.value[i] * s.value[i];
        }
        write_eight(out + at, low);
        write_eight(out + at + half, high);
    }
}
