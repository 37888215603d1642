// Copies over the links of a GPU: to and from pinned host memory, and to other GPUs of the node.
#include <cstring>

#include "bench.h"
#include "kernels/random.cuh"

namespace {

struct Pinned {
    unsigned char* data = nullptr;
    explicit Pinned(long bytes) { CHECK(cudaMallocHost(&data, static_cast<size_t>(bytes))); }
    ~Pinned() { cudaFreeHost(data); }
    Pinned(const Pinned&) = delete;
    Pinned& operator=(const Pinned&) = delete;
};

Case link_case(const std::string& link, long bytes) {
    Case what;
    what.op = "link";
    what.library = "cuda-runtime";
    what.point.add("link", link).add("size", bytes);
    what.bytes = static_cast<double>(bytes);
    what.hot = false;
    return what;
}

void to_host(Bench& bench, long most) {
    for (const bool down : {true, false})
        for (long bytes = 4096; bytes <= most; bytes *= bench.options.quick ? 16 : 4)
            bench.measure(link_case(down ? "host_to_device" : "device_to_host", bytes), [&] {
                auto host = std::make_shared<Pinned>(bytes);
                auto device = std::make_shared<Buffer<signed char>>(bytes);
                fill_random<<<256, 256>>>(device->get(), bytes, 30.0f, 3u);
                CHECK(cudaMemcpy(host->data, device->get(), static_cast<size_t>(bytes), cudaMemcpyDeviceToHost));
                const std::vector<signed char> wanted = device->host();
                if (down)
                    device->poison();
                else
                    std::memset(host->data, 0, static_cast<size_t>(bytes));
                Ready ready;
                ready.launch = [=](cudaStream_t stream) {
                    void* target = down ? static_cast<void*>(device->get()) : host->data;
                    const void* source = down ? static_cast<const void*>(host->data) : device->get();
                    CHECK(cudaMemcpyAsync(target, source, static_cast<size_t>(bytes), cudaMemcpyDefault, stream));
                };
                ready.wrong = [=] {
                    const std::vector<signed char> found = device->host();
                    return static_cast<double>(std::memcmp(wanted.data(),
                                                           down ? static_cast<const void*>(found.data()) : host->data,
                                                           static_cast<size_t>(bytes)) != 0);
                };
                return ready;
            });
}

void to_peer(Bench& bench, int peer, long most) {
    int direct = 0;
    CHECK(cudaDeviceCanAccessPeer(&direct, 0, peer));
    if (direct) {
        const cudaError_t status = cudaDeviceEnablePeerAccess(peer, 0);
        if (status != cudaErrorPeerAccessAlreadyEnabled) CHECK(status);
        cudaGetLastError();
    }
    for (long bytes = 4096; bytes <= most; bytes *= bench.options.quick ? 16 : 4)
        bench.measure(link_case(direct ? "peer" : "peer_through_host", bytes), [&] {
            auto here = std::make_shared<Buffer<signed char>>(bytes);
            fill_random<<<256, 256>>>(here->get(), bytes, 30.0f, 5u);
            CHECK(cudaSetDevice(peer));
            auto there = std::make_shared<Buffer<signed char>>(bytes);
            there->poison();
            CHECK(cudaSetDevice(0));
            Ready ready;
            ready.launch = [=](cudaStream_t stream) {
                CHECK(cudaMemcpyPeerAsync(there->get(), peer, here->get(), 0, static_cast<size_t>(bytes), stream));
            };
            ready.wrong = [=] { return static_cast<double>(here->host() != there->host()); };
            return ready;
        });
}

}  // namespace

void measure_links(Bench& bench) {
    int gpus = 0;
    CHECK(cudaGetDeviceCount(&gpus));
    to_host(bench, bench.options.quick ? 64l << 20 : 256l << 20);
    // One other GPU: what all have in common; a node's topology is nvbandwidth's to show.
    if (gpus > 1)
        to_peer(bench, 1, 256l << 20);
    else
        bench.note("one GPU: no links between GPUs, no all-reduce");
}
