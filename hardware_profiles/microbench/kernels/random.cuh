// Random data: values from a hash of their place, near normal with the given spread.
#pragma once
#include <cuda_fp8.h>

#include "device.cuh"

using fp8 = __nv_fp8_e4m3;

__device__ inline unsigned hashed(unsigned long x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdul;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ul;
    return static_cast<unsigned>(x ^ (x >> 33));
}

// The sum of four bytes: mean 0, variance 1, at most 3.5.
__device__ inline float near_normal(unsigned long place, unsigned seed) {
    const unsigned bits = hashed(place + (static_cast<unsigned long>(seed) << 40));
    const int sum = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24);
    return (static_cast<float>(sum) - 510.0f) / 147.8f;
}

__device__ inline void assign(bf16& to, float value) { to = __float2bfloat16(value); }
__device__ inline void assign(fp8& to, float value) { to = fp8(value); }
__device__ inline void assign(signed char& to, float value) { to = static_cast<signed char>(rintf(value)); }

template <typename Element>
__global__ void fill_random(Element* to, long count, float spread, unsigned seed) {
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    for (long at = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; at < count; at += step)
        assign(to[at], spread * near_normal(static_cast<unsigned long>(at), seed));
}
