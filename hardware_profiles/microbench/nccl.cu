#include "nccl.h"

#include <dlfcn.h>

#include "buffer.h"

// Signatures and numbers from NCCL's documented C interface.
namespace {
constexpr int BFLOAT16 = 9, SUM = 0;

template <typename Function>
Function find(void* library, const char* name) {
    return library ? reinterpret_cast<Function>(dlsym(library, name)) : nullptr;
}

void expect(int status, const char* what) {
    if (status != 0) throw Failed(std::string("NCCL, ") + what + ": status " + std::to_string(status));
}
}  // namespace

Nccl::Nccl(int gpus) {
    library_ = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    const auto begin = find<int (*)(void**, int, const int*)>(library_, "ncclCommInitAll");
    std::vector<void*> made(static_cast<size_t>(gpus));
    if (begin && begin(made.data(), gpus, nullptr) == 0) communicators_ = made;
}

Nccl::~Nccl() {
    const auto end = find<int (*)(void*)>(library_, "ncclCommDestroy");
    for (void* each : communicators_)
        if (end) end(each);
}

std::string Nccl::version() const {
    int code = 0;
    const auto ask = find<int (*)(int*)>(library_, "ncclGetVersion");
    if (!ask || ask(&code) != 0) return "unknown";
    return std::to_string(code / 10000) + "." + std::to_string(code / 100 % 100) + "." + std::to_string(code % 100);
}

void Nccl::all_reduce(const std::vector<const void*>& from, const std::vector<void*>& to, size_t count,
                      const std::vector<cudaStream_t>& streams) {
    static const auto group = find<int (*)()>(library_, "ncclGroupStart"),
                      done = find<int (*)()>(library_, "ncclGroupEnd");
    static const auto reduce =
        find<int (*)(const void*, void*, size_t, int, int, void*, cudaStream_t)>(library_, "ncclAllReduce");
    if (!group || !done || !reduce) throw Failed("this NCCL lacks ncclAllReduce or groups");
    expect(group(), "begin");
    for (size_t gpu = 0; gpu < communicators_.size(); ++gpu)
        expect(reduce(from[gpu], to[gpu], count, BFLOAT16, SUM, communicators_[gpu], streams[gpu]), "all-reduce");
    expect(done(), "end");
}
