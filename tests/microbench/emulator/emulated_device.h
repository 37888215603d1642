// A GPU on the CPU, for checking kernels where there is none: a thread each, blocks one after another or all at once.
// It knows what the kernels of this folder's harness use and nothing else; included by their device.cuh.
#pragma once
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#undef __global__
#undef __device__
#undef __shared__
#undef __launch_bounds__
#define __global__
#define __device__
#define __launch_bounds__(...)
// Blocks that have shared arrays run one after another, so their threads are the only ones to use them.
#define __shared__ static

struct Place {
    unsigned x = 0, y = 0, z = 0;
};

struct Block {
    explicit Block(int threads) : all(threads), pool(256 * 1024) {
        for (int warp = 0; warp < (threads + 31) / 32; ++warp) warps.push_back(std::make_unique<Warp>());
    }
    struct Warp {
        std::barrier<> together{32};
        uint32_t words[32][6];
        const void* rows[32];
    };
    std::barrier<> all;
    std::vector<std::unique_ptr<Warp>> warps;
    std::vector<unsigned char> pool;
};

inline thread_local Place threadIdx, blockIdx, blockDim, gridDim;
inline thread_local Block* own_block = nullptr;

inline Block::Warp& own_warp() { return *own_block->warps[threadIdx.x / 32]; }
inline void __syncthreads() { own_block->all.arrive_and_wait(); }
inline void __threadfence_system() { std::atomic_thread_fence(std::memory_order_seq_cst); }

template <typename Value>
Value __shfl_xor_sync(unsigned, Value value, int mask) {
    Block::Warp& warp = own_warp();
    const unsigned lane = threadIdx.x % 32;
    std::memcpy(warp.words[lane], &value, sizeof value);
    warp.together.arrive_and_wait();
    Value other;
    std::memcpy(&other, warp.words[lane ^ static_cast<unsigned>(mask)], sizeof other);
    warp.together.arrive_and_wait();
    return other;
}

inline unsigned atomicXor(unsigned* to, unsigned value) { return __atomic_fetch_xor(to, value, __ATOMIC_SEQ_CST); }
inline unsigned atomicAdd(unsigned* to, unsigned value) { return __atomic_fetch_add(to, value, __ATOMIC_SEQ_CST); }
inline int min(int a, int b) { return a < b ? a : b; }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }

namespace device {

inline unsigned char* dynamic_shared() {
    auto at = reinterpret_cast<uintptr_t>(own_block->pool.data());
    return reinterpret_cast<unsigned char*>((at + 15) / 16 * 16);
}

inline float half_of(uint32_t word, int which) {
    const uint32_t bits = (which ? word >> 16 : word & 0xFFFF) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Which lane and register hold which element: PTX ISA, "Matrix fragments for mma.m16n8k16".
inline void multiply(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    Block::Warp& warp = own_warp();
    const int lane = static_cast<int>(threadIdx.x % 32);
    std::memcpy(warp.words[lane], a, 16);
    warp.words[lane][4] = b0;
    warp.words[lane][5] = b1;
    warp.together.arrive_and_wait();
    for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
        for (int k = 0; k < 16; ++k) {
            const uint32_t left = warp.words[row % 8 * 4 + k % 8 / 2][row / 8 + 2 * (k / 8)];
            const uint32_t right = warp.words[column * 4 + k % 8 / 2][4 + k / 8];
            c[i] += half_of(left, k % 2) * half_of(right, k % 2);
        }
    }
    warp.together.arrive_and_wait();
}

// PTX ISA, "ldmatrix": lane i names row i % 8 of tile i / 8; .trans hands out columns.
inline void load_transposed(uint32_t out[4], const bf16* row) {
    Block::Warp& warp = own_warp();
    const int lane = static_cast<int>(threadIdx.x % 32);
    warp.rows[lane] = row;
    warp.together.arrive_and_wait();
    for (int tile = 0; tile < 4; ++tile) {
        uint16_t pair[2];
        for (int i = 0; i < 2; ++i)
            pair[i] = static_cast<const uint16_t*>(warp.rows[8 * tile + 2 * (lane % 4) + i])[lane / 4];
        out[tile] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
    }
    warp.together.arrive_and_wait();
}

inline void copy_async(void* shared, const void* global) { std::memcpy(shared, global, 16); }
inline void end_copies() {}
template <int>
inline void wait_copies() {}

inline void set_flag(unsigned* flag, unsigned value) { __atomic_store_n(flag, value, __ATOMIC_SEQ_CST); }
inline unsigned see_flag(const unsigned* flag) {
    std::this_thread::yield();
    return __atomic_load_n(flag, __ATOMIC_SEQ_CST);
}

}  // namespace device

// Threads of one block; join them before what they use goes.
class Running {
public:
    Running(Place grid, Place at, int threads, const std::function<void()>& kernel)
        : block_(std::make_unique<Block>(threads)) {
        for (int thread = 0; thread < threads; ++thread)
            threads_.emplace_back([=, block = block_.get()] {
                gridDim = grid;
                blockIdx = at;
                blockDim = {static_cast<unsigned>(threads), 1, 1};
                threadIdx = {static_cast<unsigned>(thread), 0, 0};
                own_block = block;
                kernel();
                // A warp's threads leave together, so only the block's barrier is waited at by those that go on.
                block->all.arrive_and_drop();
            });
    }
    void join() {
        for (std::thread& thread : threads_) thread.join();
    }

private:
    std::unique_ptr<Block> block_;
    std::vector<std::thread> threads_;
};

// Run a kernel over a grid, block after block.
inline void launch(Place grid, int threads, const std::function<void()>& kernel) {
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) Running(grid, {x, y, z}, threads, kernel).join();
}
