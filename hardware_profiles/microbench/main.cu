// The harness's entry point: which GPU, which measurements, where results go. See README.md.
#include <chrono>
#include <cstring>
#include <ctime>
#include <thread>

#include "bench.h"

namespace {

constexpr int BUSY = 10;  // percent

struct Suite {
    const char* name;
    void (*measure)(Bench&);
};

// Cheap ones first: a run cut short still holds what a profile cannot do without.
constexpr Suite SUITES[] = {
    {"launch", measure_launches}, {"memory", measure_memory},   {"small", measure_small},
    {"links", measure_links},     {"power", measure_power},     {"gemm", measure_gemm},
    {"decode", measure_decode},   {"prefill", measure_prefill}, {"allreduce", measure_allreduce}};

int usage(const std::string& problem) {
    std::string suites;
    for (const Suite& suite : SUITES) suites += std::string(suites.empty() ? "" : ",") + suite.name;
    if (!problem.empty()) std::fprintf(stderr, "%s\n", problem.c_str());
    std::fprintf(stderr,
                 "microbench --out FILE.jsonl [--quick] [--only SUITE,...] [--cublaslt FILE] [--allow-busy]\n"
                 "  --out        results, one JSON object a line; what it has already is not measured again\n"
                 "  --quick      fewer points and samples: about a minute\n"
                 "  --only       of %s\n"
                 "  --cublaslt   where libcublasLt.so is, if the loader does not find it\n"
                 "  --allow-busy measure although others use the GPU\n",
                 suites.c_str());
    return problem.empty() ? 0 : 2;
}

bool read_options(int count, char** words, Options& options, std::string& problem) {
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        std::string* target = word == "--out"        ? &options.out
                              : word == "--only"     ? &options.only
                              : word == "--cublaslt" ? &options.cublaslt
                                                     : nullptr;
        if (target) {
            if (++i == count)
                problem = word + " needs a value";
            else
                *target = words[i];
        } else if (word == "--quick")
            options.quick = true;
        else if (word == "--allow-busy")
            options.allow_busy = true;
        else if (word == "--help" || word == "-h")
            return false;
        else
            problem = "no such option: " + word;
        if (!problem.empty()) return false;
    }
    if (options.out.empty()) problem = "--out FILE.jsonl is missing";
    for (size_t at = 0; at < options.only.size();) {
        const std::string name = options.only.substr(at, options.only.find(',', at) - at);
        bool known = false;
        for (const Suite& suite : SUITES) known = known || name == suite.name;
        if (!known) problem = "no measurement is called '" + name + "'";
        at += name.size() + 1;
    }
    return problem.empty();
}

std::string now() {
    char text[32];
    const std::time_t moment = std::time(nullptr);
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&moment));
    return text;
}

std::string version(int code) { return std::to_string(code / 1000) + "." + std::to_string(code % 1000 / 10); }

Json describe(const cudaDeviceProp& gpu, const Nvml& nvml, const std::string& same, bool quick) {
    int driver = 0, runtime = 0, gpus = 0, memory_khz = 0, bus_bits = 0;
    size_t free = 0, total = 0;
    CHECK(cudaDriverGetVersion(&driver));
    CHECK(cudaRuntimeGetVersion(&runtime));
    CHECK(cudaGetDeviceCount(&gpus));
    CHECK(cudaDeviceGetAttribute(&memory_khz, cudaDevAttrMemoryClockRate, 0));
    CHECK(cudaDeviceGetAttribute(&bus_bits, cudaDevAttrGlobalMemoryBusWidth, 0));
    CHECK(cudaMemGetInfo(&free, &total));
    Json line;
    line.add("kind", "machine").add("tokenyard_microbench", RECORD_SCHEMA).add("same", same).add("harness", "cuda");
    line.add("date", now()).add("quick", quick).add("device", "gpu").add("gpu", gpu.name).add("gpus", gpus);
    line.add("compute_capability", std::to_string(gpu.major) + "." + std::to_string(gpu.minor))
        .add("sms", gpu.multiProcessorCount);
    line.add("memory_bytes", static_cast<long>(total))
        .add("memory_free_bytes", static_cast<long>(free))
        .add("l2_bytes", gpu.l2CacheSize);
    // Two transfers a clock.
    line.add("memory_bandwidth", 2e3 * memory_khz * bus_bits / 8)
        .add("driver", nvml.driver())
        .add("cuda_driver", version(driver))
        .add("cuda_runtime", version(runtime));
    line.add("most_watts", nvml.most_watts()).add("watts", nvml.watts()).add("celsius", nvml.celsius());
    line.add("most_sm_mhz", nvml.most_sm_mhz()).add("sm_mhz", nvml.sm_mhz()).add("memory_mhz", nvml.memory_mhz());
    return line;
}

// Over a second: others' work comes in bursts.
int busy(const Nvml& nvml) {
    int most = 0;
    for (int i = 0; i < 5; ++i) {
        most = std::max(most, nvml.busy_percent());
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    return most;
}

int run(const Options& options) {
    int gpus = 0;
    const cudaError_t status = cudaGetDeviceCount(&gpus);
    if (status != cudaSuccess || gpus == 0) {
        int driver = 0;
        cudaDriverGetVersion(&driver);
        const char* reason = driver == 0             ? "no NVIDIA driver is installed"
                             : status == cudaSuccess ? "the driver shows none"
                                                     : cudaGetErrorString(status);
        std::fprintf(stderr, "no GPU can be used: %s\n", reason);
        return 1;
    }
    cudaDeviceProp gpu{};
    CHECK(cudaGetDeviceProperties(&gpu, 0));
    if (gpu.major < 8) {
        std::fprintf(stderr, "%s has compute capability %d.%d; these kernels need 8.0 (Ampere) or newer\n", gpu.name,
                     gpu.major, gpu.minor);
        return 1;
    }
    char bus[32];
    CHECK(cudaDeviceGetPCIBusId(bus, sizeof bus, 0));
    Nvml nvml(bus);
    if (const int percent = busy(nvml); percent > BUSY && !options.allow_busy) {
        std::fprintf(stderr,
                     "%s is busy (%d %%): times would not be its own. End what runs there, choose another with "
                     "CUDA_VISIBLE_DEVICES, or give --allow-busy\n",
                     gpu.name, percent);
        return 1;
    }
    const std::string same = std::string(gpu.name) + ", driver " + nvml.driver();
    Records records(options.out, same);
    if (records.empty()) records.write("", describe(gpu, nvml, same, options.quick));
    Bench bench(options, gpu, nvml, records);
    for (const Suite& suite : SUITES) {
        if (!bench.wanted(suite.name)) continue;
        std::fprintf(stderr, "%s\n", suite.name);
        suite.measure(bench);
    }
    records.write("", Json()
                          .add("kind", "end")
                          .add("harness", "cuda")
                          .add("date", now())
                          .add("results", records.results())
                          .add("errors", records.errors));
    std::fprintf(stderr, "%d measured, %d errors: %s\n", records.results(), records.errors, options.out.c_str());
    return 0;
}

}  // namespace

int main(int count, char** words) {
    Options options;
    std::string problem;
    if (!read_options(count, words, options, problem)) return usage(problem);
    try {
        return run(options);
    } catch (const WrongFile& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
