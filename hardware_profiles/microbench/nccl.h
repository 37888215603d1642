// All-reduce by NCCL, loaded at run time. One process drives all GPUs.
#pragma once
#include <cuda_runtime.h>

#include <string>
#include <vector>

class Nccl {
public:
    explicit Nccl(int gpus);
    ~Nccl();
    Nccl(const Nccl&) = delete;
    Nccl& operator=(const Nccl&) = delete;

    bool present() const { return !communicators_.empty(); }
    std::string version() const;
    // Sum `count` bf16 of each GPU into all of them; one stream a GPU.
    void all_reduce(const std::vector<const void*>& from, const std::vector<void*>& to, size_t count,
                    const std::vector<cudaStream_t>& streams);

private:
    void* library_ = nullptr;
    std::vector<void*> communicators_;
};
