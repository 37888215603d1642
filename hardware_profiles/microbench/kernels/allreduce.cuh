// All-reduce over GPUs that read each other's memory: at once for short messages, in two steps for long ones.
#pragma once
#include "small.cuh"

constexpr int MOST_GPUS = 8, REDUCE_BLOCKS = 48, REDUCE_THREADS = 512;

struct Peers {
    const bf16* data[MOST_GPUS];
    bf16* halfway[MOST_GPUS];    // where each GPU keeps the slice it has summed
    unsigned* flags[MOST_GPUS];  // [REDUCE_BLOCKS][MOST_GPUS] on each GPU
    unsigned* rounds;            // [REDUCE_BLOCKS] on this GPU: how often its blocks have met
    int rank, count;
};

// Blocks of the same number on all GPUs wait for each other; what they wrote before is then seen by all.
__device__ inline void meet(const Peers& peers) {
    __threadfence_system();
    __syncthreads();
    const unsigned round = peers.rounds[blockIdx.x] + 1;
    if (threadIdx.x < static_cast<unsigned>(peers.count)) {
        const int other = static_cast<int>(threadIdx.x);
        device::set_flag(peers.flags[other] + blockIdx.x * MOST_GPUS + peers.rank, round);
        // Signed difference: a faster peer may already be a round ahead.
        while (static_cast<int>(device::see_flag(peers.flags[peers.rank] + blockIdx.x * MOST_GPUS + other) - round) <
               0) {
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) peers.rounds[blockIdx.x] = round;
    __syncthreads();
}

__device__ inline Eight sum_at(const Peers& peers, long at) {
    Eight total = read_eight(peers.data[0] + at);
    for (int other = 1; other < peers.count; ++other) {
        const Eight own = read_eight(peers.data[other] + at);
        for (int i = 0; i < 8; ++i) total.value[i] += own.value[i];
    }
    return total;
}

// Every GPU reads everything of all others: one exchange, count - 1 messages into each GPU.
[[maybe_unused]] static __global__ void __launch_bounds__(REDUCE_THREADS)
    reduce_at_once(Peers peers, bf16* out, long count) {
    meet(peers);
    const long step = 8l * gridDim.x * blockDim.x;
    for (long at = 8l * (blockIdx.x * blockDim.x + threadIdx.x); at < count; at += step)
        write_eight(out + at, sum_at(peers, at));
    // Nobody may overwrite its input while another still reads it.
    meet(peers);
}

// Each GPU sums its slice, then reads the slices of the others. Threads read in the second step what threads of the
// same number wrote in the first, so that meeting by blocks is enough. count is a multiple of 8 GPUs' share.
[[maybe_unused]] static __global__ void __launch_bounds__(REDUCE_THREADS)
    reduce_in_two_steps(Peers peers, bf16* out, long count) {
    const long slice = count / peers.count, step = 8l * gridDim.x * blockDim.x;
    const long first = 8l * (blockIdx.x * blockDim.x + threadIdx.x);
    meet(peers);
    for (long at = first; at < slice; at += step)
        write_eight(peers.halfway[peers.rank] + at, sum_at(peers, peers.rank * slice + at));
    meet(peers);
    for (long at = first; at < slice; at += step)
        for (int other = 0; other < peers.count; ++other)
            write_eight(out + other * slice + at, read_eight(peers.halfway[other] + at));
    meet(peers);
}
