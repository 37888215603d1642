// One run of the harness: how a kernel is checked, timed and written down.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "buffer.h"
#include "nvml.h"
#include "records.h"
#include "sampling.h"

using Launch = std::function<void(cudaStream_t)>;

// What is measured: an operator of a library at a point; how many FLOPs it does and bytes it must move.
struct Case {
    std::string op, library;
    Json point;
    double flop = 0, bytes = 0;
    bool cold = true, hot = true;
};

// A case ready to run: `wrong` compares what a launch left with a reference and returns its relative error.
struct Ready {
    Launch launch;
    std::function<double()> wrong;
    double tolerance = 0;
};

struct Options {
    std::string out, cublaslt, only;
    bool quick = false, allow_busy = false;
};

class Bench {
public:
    Bench(const Options& options, const cudaDeviceProp& gpu, Nvml& nvml, Records& records);
    ~Bench();

    // Check and time a case unless the file has it. Failures become error lines; true if it could be measured or was.
    bool measure(const Case& what, const std::function<Ready()>& prepare);
    // The same where a whole measurement is the case's own (seconds of one sample, per repetition).
    bool measure_by(const Case& what, const char* l2, const std::function<std::function<double()>()>& prepare);
    void note(const std::string& text);
    void error(const Case& what, const std::string& text, bool fatal = false);
    bool wanted(const char* suite) const {
        return options.only.empty() ||
               ("," + options.only + ",").find("," + std::string(suite) + ",") != std::string::npos;
    }
    bool has(const Case& what, const char* l2) const { return records.has(key(what, l2)); }

    // Seconds of the GPU between two moments of a stream.
    double timed(const std::function<void()>& work);
    void flush_l2();

    const Options& options;
    const cudaDeviceProp& gpu;
    Nvml& nvml;
    Records& records;
    cudaStream_t stream = nullptr;
    SamplingRule rule;

private:
    static std::string key(const Case& what, const char* l2);
    void sample(const Case& what, const char* l2, double wrong, const std::function<double()>& once);
    std::function<double()> cold(const Launch& launch);
    std::function<double()> hot(const Launch& launch);

    cudaEvent_t begin_ = nullptr, end_ = nullptr;
    Buffer<uint4> flush_;
    Buffer<unsigned> flushed_;
};

// ||found - wanted|| / ||wanted||; infinity if anything is no number.
double relative_error(const std::vector<float>& found, const std::vector<float>& wanted);

void measure_memory(Bench& bench);
void measure_gemm(Bench& bench);
void measure_prefill(Bench& bench);
void measure_decode(Bench& bench);
void measure_small(Bench& bench);
void measure_links(Bench& bench);
void measure_launches(Bench& bench);
void measure_allreduce(Bench& bench);
void measure_power(Bench& bench);
