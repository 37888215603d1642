#include "bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "kernels/memory.cuh"

namespace {

using Clock = std::chrono::steady_clock;

constexpr long LEAST_FLUSH = 256l << 20;
constexpr int COOLINGS = 3;
constexpr double HOT_SAMPLE = 200e-6;  // seconds that a sample of repeated launches should at least last
constexpr int MOST_REPEATS = 200;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Graph {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    ~Graph() {
        if (exec) cudaGraphExecDestroy(exec);
        if (graph) cudaGraphDestroy(graph);
    }
};

}  // namespace

Bench::Bench(const Options& options, const cudaDeviceProp& gpu, Nvml& nvml, Records& records)
    : options(options), gpu(gpu), nvml(nvml), records(records) {
    if (options.quick) rule = {7, 60, 0.01, 0.1};
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CHECK(cudaEventCreate(&begin_));
    CHECK(cudaEventCreate(&end_));
    flush_ = Buffer<uint4>(std::max<long>(LEAST_FLUSH, 2l * gpu.l2CacheSize) / 16);
    flushed_ = Buffer<unsigned>(1);
    write_memory<<<4 * gpu.multiProcessorCount, MEMORY_THREADS, 0, stream>>>(flush_.get(), flush_.count(), 1);
    // A second of work, so that clocks are up when the first sample is taken.
    for (const auto start = Clock::now(); since(start) < (options.quick ? 0.3 : 1.0);) {
        for (int i = 0; i < 50; ++i) flush_l2();
        CHECK(cudaStreamSynchronize(stream));
    }
}

Bench::~Bench() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
    cudaStreamDestroy(stream);
}

// Read, not written: dirty lines would be written back while the next kernel is timed. It also keeps the GPU busy
// while the host queues what follows, so that launching it costs no time between the events.
void Bench::flush_l2() {
    read_memory<<<4 * gpu.multiProcessorCount, MEMORY_THREADS, 0, stream>>>(flush_.get(), flush_.count(),
                                                                            flushed_.get());
}

double Bench::timed(const std::function<void()>& work) {
    CHECK(cudaEventRecord(begin_, stream));
    work();
    CHECK(cudaEventRecord(end_, stream));
    CHECK(cudaEventSynchronize(end_));
    float milliseconds = 0;
    CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
    return milliseconds / 1e3;
}

std::function<double()> Bench::cold(const Launch& launch) {
    return [this, launch] {
        flush_l2();
        return timed([&] { launch(stream); });
    };
}

std::function<double()> Bench::hot(const Launch& launch) {
    const double once = timed([&] { launch(stream); });
    const int repeats = std::min(MOST_REPEATS, 1 + static_cast<int>(HOT_SAMPLE / std::max(once, 1e-7)));
    auto graph = std::make_shared<Graph>();
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < repeats; ++i) launch(stream);
    CHECK(cudaStreamEndCapture(stream, &graph->graph));
    CHECK(cudaGraphInstantiate(&graph->exec, graph->graph, 0));
    CHECK(cudaGraphLaunch(graph->exec, stream));
    return [this, graph, repeats] {
        // Behind a kernel, or the graph's own launch would be timed.
        flush_l2();
        CHECK(cudaGraphLaunch(graph->exec, stream));
        return timed([&] { CHECK(cudaGraphLaunch(graph->exec, stream)); }) / repeats;
    };
}

std::string Bench::key(const Case& what, const char* l2) {
    return what.op + "|" + what.library + "|" + l2 + "|" + what.point.key();
}

bool Bench::measure(const Case& what, const std::function<Ready()>& prepare) {
    const bool cold_due = what.cold && !has(what, "cold"), hot_due = what.hot && !has(what, "hot");
    if (!cold_due && !hot_due) return true;
    try {
        const Ready ready = prepare();
        // Data is filled in on another stream.
        CHECK(cudaDeviceSynchronize());
        ready.launch(stream);
        CHECK(cudaGetLastError());
        CHECK(cudaStreamSynchronize(stream));
        const double wrong = ready.wrong();
        if (!(wrong <= ready.tolerance)) {
            error(what, "its result is wrong: relative error " + std::to_string(wrong) + ", allowed " +
                            std::to_string(ready.tolerance));
            return false;
        }
        if (cold_due) sample(what, "cold", wrong, cold(ready.launch));
        if (hot_due) sample(what, "hot", wrong, hot(ready.launch));
        return true;
    } catch (const Failed& failure) {
        error(what, failure.what());
        return false;
    }
}

bool Bench::measure_by(const Case& what, const char* l2, const std::function<std::function<double()>()>& prepare) {
    if (has(what, l2)) return true;
    try {
        sample(what, l2, 0, prepare());
        return true;
    } catch (const Failed& failure) {
        error(what, failure.what());
        return false;
    }
}

void Bench::sample(const Case& what, const char* l2, double wrong, const std::function<double()>& once) {
    Summary summary;
    int mhz = 0;
    double watts = 0;
    bool throttled = false, capped = false;
    for (int attempt = 0; attempt < COOLINGS; ++attempt) {
        Samples samples;
        once();
        const auto start = Clock::now();
        while (!samples.enough(rule, since(start))) samples.add(once());
        // Asked while the GPU is still at the clocks it measured at.
        mhz = nvml.sm_mhz();
        watts = nvml.watts();
        throttled = nvml.throttled();
        capped = nvml.power_capped();
        summary = samples.summary(rule);
        if (!throttled) break;
        std::fprintf(stderr, "  slowed down at %d C; waiting for it to cool\n", nvml.celsius());
        std::this_thread::sleep_for(std::chrono::seconds(options.quick ? 2 : 10));
    }
    Json line;
    line.add("kind", "result").add("op", what.op).add("library", what.library).add("point", what.point).add("l2", l2);
    line.add("seconds", summary.median).add("fastest", summary.fastest).add("noise", summary.noise);
    line.add("samples", summary.samples).add("settled", summary.settled).add("error", wrong);
    line.add("flop", what.flop).add("bytes", what.bytes).add("sm_mhz", mhz).add("watts", watts);
    line.add("throttled", throttled).add("power_capped", capped);
    records.write(key(what, l2), line);
    if (records.results() % 100 == 0)
        std::fprintf(stderr, "%6d measured, now %s\n", records.results(), what.op.c_str());
}

void Bench::note(const std::string& text) {
    records.write("", Json().add("kind", "note").add("text", text));
    std::fprintf(stderr, "note: %s\n", text.c_str());
}

void Bench::error(const Case& what, const std::string& text, bool fatal) {
    // After some errors (a bad address, say) the GPU answers nothing more until the process ends.
    const bool dead = fatal || cudaStreamSynchronize(stream) != cudaSuccess;
    cudaGetLastError();
    ++records.errors;
    Json line;
    line.add("kind", "error")
        .add("op", what.op)
        .add("library", what.library)
        .add("point", what.point)
        .add("message", text);
    if (dead) {
        line.add("fatal", true);
        // Both ways of timing it are given up, or the next run would end here again.
        records.write(key(what, "cold"), line);
        records.write(key(what, "hot"), line);
        throw std::runtime_error("the GPU gave up at " + key(what, "") + ": " + text +
                                 "; run the same command again, it goes on after this point");
    }
    records.write(key(what, "cold"), line);
    std::fprintf(stderr, "error: %s %s: %s\n", what.op.c_str(), what.point.key().c_str(), text.c_str());
}

double relative_error(const std::vector<float>& found, const std::vector<float>& wanted) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
        difference += (double(found[i]) - wanted[i]) * (double(found[i]) - wanted[i]);
        size += double(wanted[i]) * wanted[i];
    }
    const double error = std::sqrt(difference / std::max(size, 1e-30));
    return std::isfinite(error) ? error : INFINITY;
}
