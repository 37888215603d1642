// All-reduce of bf16 over 2, 4 and 8 GPUs of a node: own kernels over peer access, and NCCL where it can be loaded.
#include "bench.h"
#include "kernels/allreduce.cuh"
#include "kernels/random.cuh"
#include "nccl.h"

namespace {

constexpr long AT_ONCE_UP_TO = 256l << 10;  // bytes; beyond, two steps move less
constexpr double TOLERANCE = 1e-2;

// Streams, events and buffers on each of the first `count` GPUs.
struct Node {
    int count;
    long most;
    std::vector<cudaStream_t> streams;
    std::vector<cudaEvent_t> begins, ends;
    std::vector<Buffer<bf16>> from, to, halfway;
    std::vector<Buffer<unsigned>> flags, rounds;

    Node(int count, long elements) : count(count), most(elements) {
        for (int gpu = 0; gpu < count; ++gpu) {
            CHECK(cudaSetDevice(gpu));
            for (int other = 0; other < count; ++other) {
                if (other == gpu) continue;
                const cudaError_t status = cudaDeviceEnablePeerAccess(other, 0);
                if (status != cudaErrorPeerAccessAlreadyEnabled) CHECK(status);
                cudaGetLastError();
            }
            streams.emplace_back();
            begins.emplace_back();
            ends.emplace_back();
            CHECK(cudaStreamCreateWithFlags(&streams.back(), cudaStreamNonBlocking));
            CHECK(cudaEventCreate(&begins.back()));
            CHECK(cudaEventCreate(&ends.back()));
            from.emplace_back(elements);
            to.emplace_back(elements);
            halfway.emplace_back(elements / count);
            flags.emplace_back(static_cast<long>(REDUCE_BLOCKS) * MOST_GPUS);
            rounds.emplace_back(REDUCE_BLOCKS);
            fill_random<<<1024, 256>>>(from.back().get(), elements, 1.0f, 51u + static_cast<unsigned>(gpu));
            CHECK(cudaMemset(flags.back().get(), 0, flags.back().bytes()));
            CHECK(cudaMemset(rounds.back().get(), 0, rounds.back().bytes()));
            CHECK(cudaDeviceSynchronize());
        }
        CHECK(cudaSetDevice(0));
    }
    ~Node() {
        for (int gpu = 0; gpu < static_cast<int>(streams.size()); ++gpu) {
            cudaSetDevice(gpu);
            cudaStreamDestroy(streams[static_cast<size_t>(gpu)]);
            cudaEventDestroy(begins[static_cast<size_t>(gpu)]);
            cudaEventDestroy(ends[static_cast<size_t>(gpu)]);
        }
        cudaSetDevice(0);
    }
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    Peers peers(int rank) const {
        Peers all{};
        for (int gpu = 0; gpu < count; ++gpu) {
            const auto at = static_cast<size_t>(gpu);
            all.data[gpu] = from[at].get();
            all.halfway[gpu] = halfway[at].get();
            all.flags[gpu] = flags[at].get();
        }
        all.rounds = rounds[static_cast<size_t>(rank)].get();
        all.rank = rank;
        all.count = count;
        return all;
    }

    void own(long elements) {
        for (int gpu = 0; gpu < count; ++gpu) {
            const auto at = static_cast<size_t>(gpu);
            CHECK(cudaSetDevice(gpu));
            if (elements * 2 <= AT_ONCE_UP_TO)
                reduce_at_once<<<REDUCE_BLOCKS, REDUCE_THREADS, 0, streams[at]>>>(peers(gpu), to[at].get(), elements);
            else
                reduce_in_two_steps<<<REDUCE_BLOCKS, REDUCE_THREADS, 0, streams[at]>>>(peers(gpu), to[at].get(),
                                                                                       elements);
        }
        CHECK(cudaSetDevice(0));
    }

    void by_nccl(Nccl& nccl, long elements) {
        std::vector<const void*> sources;
        std::vector<void*> targets;
        for (int gpu = 0; gpu < count; ++gpu) {
            sources.push_back(from[static_cast<size_t>(gpu)].get());
            targets.push_back(to[static_cast<size_t>(gpu)].get());
        }
        nccl.all_reduce(sources, targets, static_cast<size_t>(elements), streams);
    }

    double wrong(long elements) {
        const long looked = std::min<long>(elements, 4096);
        std::vector<float> wanted(static_cast<size_t>(2 * looked)), found;
        for (int gpu = 0; gpu < count; ++gpu) {
            CHECK(cudaSetDevice(gpu));
            CHECK(cudaDeviceSynchronize());
            for (int part = 0; part < 2; ++part) {
                const std::vector<bf16> values =
                    from[static_cast<size_t>(gpu)].host(part * (elements - looked), looked);
                for (long i = 0; i < looked; ++i)
                    wanted[static_cast<size_t>(part * looked + i)] += __bfloat162float(values[static_cast<size_t>(i)]);
            }
        }
        double worst = 0;
        for (int gpu = 0; gpu < count; ++gpu) {
            CHECK(cudaSetDevice(gpu));
            found.clear();
            for (int part = 0; part < 2; ++part)
                for (const bf16 value : to[static_cast<size_t>(gpu)].host(part * (elements - looked), looked))
                    found.push_back(__bfloat162float(value));
            worst = std::max(worst, relative_error(found, wanted));
        }
        CHECK(cudaSetDevice(0));
        return worst;
    }

    // A graph of `repeats` on each GPU, all started together: seconds a repeat on the slowest.
    double seconds(const std::vector<cudaGraphExec_t>& graphs, int repeats) {
        for (int gpu = 0; gpu < count; ++gpu) {
            const auto at = static_cast<size_t>(gpu);
            CHECK(cudaSetDevice(gpu));
            CHECK(cudaEventRecord(begins[at], streams[at]));
            CHECK(cudaGraphLaunch(graphs[at], streams[at]));
            CHECK(cudaEventRecord(ends[at], streams[at]));
        }
        double slowest = 0;
        for (int gpu = 0; gpu < count; ++gpu) {
            const auto at = static_cast<size_t>(gpu);
            float milliseconds = 0;
            CHECK(cudaEventSynchronize(ends[at]));
            CHECK(cudaEventElapsedTime(&milliseconds, begins[at], ends[at]));
            slowest = std::max(slowest, milliseconds / 1e3);
        }
        CHECK(cudaSetDevice(0));
        return slowest / repeats;
    }
};

std::vector<cudaGraphExec_t> captured(Node& node, int repeats, const std::function<void()>& reduce) {
    for (int gpu = 0; gpu < node.count; ++gpu) {
        CHECK(cudaSetDevice(gpu));
        CHECK(cudaStreamBeginCapture(node.streams[static_cast<size_t>(gpu)], cudaStreamCaptureModeThreadLocal));
    }
    for (int i = 0; i < repeats; ++i) reduce();
    std::vector<cudaGraphExec_t> graphs;
    for (int gpu = 0; gpu < node.count; ++gpu) {
        cudaGraph_t graph = nullptr;
        CHECK(cudaSetDevice(gpu));
        CHECK(cudaStreamEndCapture(node.streams[static_cast<size_t>(gpu)], &graph));
        graphs.emplace_back();
        CHECK(cudaGraphInstantiate(&graphs.back(), graph, 0));
        CHECK(cudaGraphDestroy(graph));
    }
    CHECK(cudaSetDevice(0));
    return graphs;
}

void measure_one(Bench& bench, Node& node, const std::string& library, long bytes,
                 const std::function<void()>& reduce) {
    Case what;
    what.op = "allreduce";
    what.library = library;
    what.point.add("dtype", "bfloat16").add("graph", 1).add("gpus", node.count).add("bytes", bytes);
    what.bytes = 2.0 * (node.count - 1) / node.count * static_cast<double>(bytes);
    bench.measure_by(what, "hot", [&] {
        for (int gpu = 0; gpu < node.count; ++gpu) {
            CHECK(cudaSetDevice(gpu));
            node.to[static_cast<size_t>(gpu)].poison();
            CHECK(cudaDeviceSynchronize());
        }
        reduce();
        const double wrong = node.wrong(bytes / 2);
        if (!(wrong <= TOLERANCE)) throw Failed("its result is wrong: relative error " + std::to_string(wrong));
        const int repeats = bytes < (8l << 20) ? 50 : 5;
        const auto graphs = captured(node, repeats, reduce);
        node.seconds(graphs, repeats);
        const std::shared_ptr<const void> freed(nullptr, [graphs](const void*) {
            for (cudaGraphExec_t graph : graphs) cudaGraphExecDestroy(graph);
        });
        return [&node, graphs, repeats, freed] { return node.seconds(graphs, repeats); };
    });
}

}  // namespace

void measure_allreduce(Bench& bench) {
    int gpus = 0;
    CHECK(cudaGetDeviceCount(&gpus));
    const long most = bench.options.quick ? 32l << 20 : 256l << 20;
    for (const int count : {2, 4, 8}) {
        if (count > gpus) break;
        bool direct = true;
        for (int other = 1; other < count; ++other) {
            int can = 0;
            CHECK(cudaDeviceCanAccessPeer(&can, 0, other));
            direct = direct && can;
        }
        try {
            if (direct) {
                Node node(count, most / 2);
                for (long bytes = 4096; bytes <= most; bytes *= bench.options.quick ? 8 : 2)
                    measure_one(bench, node, "own-kernels", bytes, [&] { node.own(bytes / 2); });
                Nccl nccl(count);
                if (!nccl.present())
                    bench.note("NCCL cannot be loaded (libnccl.so.2): all-reduces by own kernels only");
                for (long bytes = 4096; nccl.present() && bytes <= most; bytes *= bench.options.quick ? 8 : 2)
                    measure_one(bench, node, "nccl-" + nccl.version(), bytes, [&] { node.by_nccl(nccl, bytes / 2); });
            } else {
                bench.note(
                    "GPUs cannot read each other's memory: all-reduces not measured; nccl-tests can, and its results "
                    "import too");
            }
        } catch (const Failed& failure) {
            bench.note(std::string("all-reduce over ") + std::to_string(count) +
                       " GPUs not measured: " + failure.what());
        }
    }
}
