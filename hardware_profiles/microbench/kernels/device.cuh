// What kernels need of the GPU beyond plain C++: the matrix instruction, and copies into shared memory.
// A host emulator (tests/microbench/emulator) can stand in for it, so that kernels are checked without a GPU.
#pragma once
#include <cstdint>

#include <cuda_bf16.h>

using bf16 = __nv_bfloat16;

#ifdef TOKENYARD_EMULATED
#include "emulated_device.h"
#else
#include <cuda_pipeline.h>

namespace device {

// Shared memory whose size the launch gives.
__device__ inline unsigned char* dynamic_shared() {
    extern __shared__ __align__(16) unsigned char dynamic_pool[];
    return dynamic_pool;
}

// c += a b for one 16x16 times 16x8 tile a warp; fragments as in PTX's mma.m16n8k16.
__device__ inline void multiply(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8x8 tiles, transposed; lane i names row i % 8 of tile i / 8 in shared memory.
__device__ inline void load_transposed(uint32_t out[4], const bf16* row) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address));
}

__device__ inline void copy_async(void* shared, const void* global) { __pipeline_memcpy_async(shared, global, 16); }
__device__ inline void end_copies() { __pipeline_commit(); }
template <int PENDING>
__device__ inline void wait_copies() {
    __pipeline_wait_prior(PENDING);
}

// Flags that GPUs of one node set in each other's memory.
__device__ inline void set_flag(unsigned* flag, unsigned value) {
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(flag), "r"(value) : "memory");
}
__device__ inline unsigned see_flag(const unsigned* flag) {
    unsigned value;
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(flag) : "memory");
    return value;
}

}  // namespace device
#endif
