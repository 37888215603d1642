// Power drawn at rest, by streaming memory and by matrix products: means of the board's own meter.
#include <chrono>
#include <thread>

#include "bench.h"
#include "cublaslt.h"
#include "kernels/memory.cuh"
#include "kernels/random.cuh"

namespace {

using Clock = std::chrono::steady_clock;

// The meter averages over about a second: readings count from then on.
void measure_load(Bench& bench, const char* load, const std::function<void()>& work) {
    Case what;
    what.op = "power";
    what.library = "nvml";
    what.point.add("load", load);
    if (bench.has(what, "none")) return;
    const double settle = 1.5, whole = bench.options.quick ? 2.5 : 4;
    double sum = 0;
    int readings = 0, mhz = 0;
    const auto start = Clock::now();
    for (double passed = 0; passed < whole; passed = std::chrono::duration<double>(Clock::now() - start).count()) {
        work();
        if (passed < settle) continue;
        sum += bench.nvml.watts();
        mhz = bench.nvml.sm_mhz();
        ++readings;
    }
    if (readings == 0 || sum <= 0) {
        bench.error(what, "the driver tells no power");
        return;
    }
    Json line;
    line.add("kind", "result")
        .add("op", what.op)
        .add("library", what.library)
        .add("point", what.point)
        .add("l2", "none");
    line.add("seconds", whole).add("samples", readings).add("watts", sum / readings).add("sm_mhz", mhz);
    line.add("power_capped", bench.nvml.power_capped()).add("throttled", bench.nvml.throttled());
    bench.records.write(what.op + "|" + what.library + "|none|" + what.point.key(), line);
}

}  // namespace

void measure_power(Bench& bench) {
    if (!bench.nvml.present()) {
        bench.note("the driver's management library cannot be loaded: no power, clocks or throttle checks");
        return;
    }
    try {
        CHECK(cudaStreamSynchronize(bench.stream));
        measure_load(bench, "idle", [] { std::this_thread::sleep_for(std::chrono::milliseconds(50)); });
        {
            const long count = (512l << 20) / 16;
            Buffer<uint4> from(count), to(count);
            write_memory<<<1024, MEMORY_THREADS>>>(from.get(), count, 9);
            measure_load(bench, "memory", [&] {
                for (int i = 0; i < 100; ++i)
                    copy_memory<<<4 * bench.gpu.multiProcessorCount, MEMORY_THREADS, 0, bench.stream>>>(
                        from.get(), to.get(), count);
                CHECK(cudaStreamSynchronize(bench.stream));
            });
        }
        CublasLt library(bench.options.cublaslt);
        if (!library.present()) return;
        constexpr long SIZE = 8192;
        Buffer<bf16> x(SIZE * SIZE), w(SIZE * SIZE), y(SIZE * SIZE);
        fill_random<<<4096, 256>>>(x.get(), x.count(), 1.0f, 41u);
        fill_random<<<4096, 256>>>(w.get(), w.count(), 1.0f, 42u);
        CHECK(cudaDeviceSynchronize());
        const auto product = library.product(Precision::bfloat16, SIZE, SIZE, SIZE);
        measure_load(bench, "gemm_bfloat16", [&] {
            for (int i = 0; i < 50; ++i) library.run(*product, x.get(), w.get(), y.get(), bench.stream);
            CHECK(cudaStreamSynchronize(bench.stream));
        });
    } catch (const Failed& failure) {
        bench.note(std::string("power not measured: ") + failure.what());
    }
}
