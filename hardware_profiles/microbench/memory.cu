// Memory bandwidth by size: cold samples show HBM, hot ones of what fits the L2 cache show that.
#include "bench.h"
#include "kernels/memory.cuh"
#include "kernels/random.cuh"

namespace {

Ready prepared(Bench& bench, const std::string& access, long bytes) {
    const long count = bytes / 16;
    const int blocks = 4 * bench.gpu.multiProcessorCount;
    auto from = std::make_shared<Buffer<uint4>>(access == "write" ? 1 : count);
    auto to = std::make_shared<Buffer<uint4>>(access == "read" ? 1 : count);
    auto found = std::make_shared<Buffer<unsigned>>(1);
    const unsigned seed = 7;
    if (access != "write") write_memory<<<blocks, MEMORY_THREADS>>>(from->get(), count, seed + 1);
    to->poison();
    CHECK(cudaMemset(found->get(), 0, sizeof(unsigned)));
    CHECK(cudaDeviceSynchronize());
    Ready ready;
    ready.launch = [=](cudaStream_t stream) {
        if (access == "read") read_memory<<<blocks, MEMORY_THREADS, 0, stream>>>(from->get(), count, found->get());
        if (access == "write") write_memory<<<blocks, MEMORY_THREADS, 0, stream>>>(to->get(), count, seed);
        if (access == "copy") copy_memory<<<blocks, MEMORY_THREADS, 0, stream>>>(from->get(), to->get(), count);
    };
    ready.wrong = [=] {
        unsigned seen = found->host()[0];
        if (access == "read") {
            // The same words again, dealt out to other threads, leave 0.
            read_memory<<<33, 96>>>(from->get(), count, found->get());
            return static_cast<double>(found->host()[0] != 0 || seen == 0);
        }
        CHECK(cudaMemset(found->get(), 0, sizeof(unsigned)));
        count_differences<<<blocks, MEMORY_THREADS>>>(to->get(), access == "copy" ? from->get() : nullptr, count, seed,
                                                      found->get());
        return static_cast<double>(found->host()[0]) / static_cast<double>(count);
    };
    return ready;
}

}  // namespace

void measure_memory(Bench& bench) {
    size_t free = 0, total = 0;
    CHECK(cudaMemGetInfo(&free, &total));
    const long most = std::min<long>(4l << 30, static_cast<long>(free / 4));
    for (const char* access : {"read", "write", "copy"})
        for (long bytes = 64l << 10; bytes <= most; bytes *= bench.options.quick ? 16 : 2) {
            Case what;
            what.op = "memory";
            what.library = "own-kernels";
            what.point.add("access", access).add("size", bytes);
            what.bytes = static_cast<double>(bytes) * (std::string(access) == "copy" ? 2 : 1);
            bench.measure(what, [&] { return prepared(bench, access, bytes); });
        }
}
