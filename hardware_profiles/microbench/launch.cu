// What starting kernels costs: on a stream, in a replayed graph, and between two events with nothing to do.
#include <chrono>

#include "bench.h"

namespace {

constexpr int LAUNCHES = 500;

__global__ void do_nothing() {}

double host_seconds(const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Case launch_case(const char* how, int nodes) {
    Case what;
    what.op = "launch";
    what.library = "cuda-runtime";
    what.point.add("how", how).add("kernels", nodes);
    return what;
}

}  // namespace

void measure_launches(Bench& bench) {
    const cudaStream_t stream = bench.stream;
    // Between two events on a busy GPU: what cold times of single kernels hold beyond the kernel's own work.
    bench.measure_by(launch_case("between_events", 1), "none", [&] {
        return [&bench, stream] {
            bench.flush_l2();
            return bench.timed([&] { do_nothing<<<1, 32, 0, stream>>>(); });
        };
    });
    // From the host's call until the host knows that it ran.
    bench.measure_by(launch_case("round_trip", 1), "none", [&] {
        return [stream] {
            return host_seconds([&] {
                do_nothing<<<1, 32, 0, stream>>>();
                CHECK(cudaStreamSynchronize(stream));
            });
        };
    });
    // Many in a row, each launched by the host: the slower of the two sides.
    bench.measure_by(launch_case("stream", LAUNCHES), "none", [&] {
        return [stream] {
            return host_seconds([&] {
                       for (int i = 0; i < LAUNCHES; ++i) do_nothing<<<1, 32, 0, stream>>>();
                       CHECK(cudaStreamSynchronize(stream));
                   }) /
                   LAUNCHES;
        };
    });
    for (const int nodes : {1, 50, LAUNCHES}) {
        const auto graph = [stream, nodes] {
            cudaGraph_t graph = nullptr;
            cudaGraphExec_t exec = nullptr;
            CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
            for (int i = 0; i < nodes; ++i) do_nothing<<<1, 32, 0, stream>>>();
            CHECK(cudaStreamEndCapture(stream, &graph));
            CHECK(cudaGraphInstantiate(&exec, graph, 0));
            CHECK(cudaGraphDestroy(graph));
            return std::shared_ptr<CUgraphExec_st>(exec, [](cudaGraphExec_t own) { cudaGraphExecDestroy(own); });
        };
        // A node of a replayed graph, seen from the GPU: what each kernel of an engine's captured step adds.
        bench.measure_by(launch_case("graph_node", nodes), "none", [&] {
            return [&bench, stream, nodes, exec = graph()] {
                bench.flush_l2();
                return bench.timed([&] { CHECK(cudaGraphLaunch(exec.get(), stream)); }) / nodes;
            };
        });
        // The whole graph, seen from the host.
        bench.measure_by(launch_case("graph_round_trip", nodes), "none", [&] {
            return [stream, exec = graph()] {
                return host_seconds([&] {
                    CHECK(cudaGraphLaunch(exec.get(), stream));
                    CHECK(cudaStreamSynchronize(stream));
                });
            };
        });
    }
}
