// Reading, writing and copying memory, 16 bytes a thread and step.
#pragma once
#include "device.cuh"

constexpr int MEMORY_THREADS = 512, MEMORY_UNROLL = 4;

__device__ inline unsigned fold(uint4 value) { return value.x ^ value.y ^ value.z ^ value.w; }

// XOR of all words into *out, which the caller sets to 0 first: something to check, and nothing can be left out.
[[maybe_unused]] static __global__ void __launch_bounds__(MEMORY_THREADS)
    read_memory(const uint4* from, long count, unsigned* out) {
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    long at = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x;
    unsigned seen = 0;
    for (; at + (MEMORY_UNROLL - 1) * step < count; at += MEMORY_UNROLL * step) {
        uint4 values[MEMORY_UNROLL];
#pragma unroll
        for (int i = 0; i < MEMORY_UNROLL; ++i) values[i] = from[at + i * step];
#pragma unroll
        for (int i = 0; i < MEMORY_UNROLL; ++i) seen ^= fold(values[i]);
    }
    for (; at < count; at += step) seen ^= fold(from[at]);
    for (int lanes = 16; lanes > 0; lanes /= 2) seen ^= __shfl_xor_sync(0xffffffffu, seen, lanes);
    if (threadIdx.x % 32 == 0) atomicXor(out, seen);
}

__device__ inline uint4 pattern(long at, unsigned seed) {
    const unsigned mixed = (static_cast<unsigned>(at) ^ seed) * 2654435761u;
    return uint4{mixed, mixed ^ 0x9e3779b9u, mixed + 0x85ebca6bu, ~mixed};
}

[[maybe_unused]] static __global__ void __launch_bounds__(MEMORY_THREADS)
    write_memory(uint4* to, long count, unsigned seed) {
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    for (long at = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; at < count; at += step)
        to[at] = pattern(at, seed);
}

[[maybe_unused]] static __global__ void __launch_bounds__(MEMORY_THREADS)
    copy_memory(const uint4* from, uint4* to, long count) {
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    long at = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x;
    for (; at + (MEMORY_UNROLL - 1) * step < count; at += MEMORY_UNROLL * step) {
        uint4 values[MEMORY_UNROLL];
#pragma unroll
        for (int i = 0; i < MEMORY_UNROLL; ++i) values[i] = from[at + i * step];
#pragma unroll
        for (int i = 0; i < MEMORY_UNROLL; ++i) to[at + i * step] = values[i];
    }
    for (; at < count; at += step) to[at] = from[at];
}

// How many 16-byte words differ from what write_memory leaves, or from another buffer; plain on purpose.
[[maybe_unused]] static __global__ void __launch_bounds__(MEMORY_THREADS)
    count_differences(const uint4* found, const uint4* wanted, long count, unsigned seed, unsigned* out) {
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    unsigned wrong = 0;
    for (long at = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; at < count; at += step) {
        const uint4 a = found[at], b = wanted ? wanted[at] : pattern(at, seed);
        wrong += a.x != b.x || a.y != b.y || a.z != b.z || a.w != b.w;
    }
    if (wrong) atomicAdd(out, wrong);
}
