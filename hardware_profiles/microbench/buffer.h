// Device memory that frees itself, and errors of the CUDA runtime as exceptions.
#pragma once
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#include <vector>

struct Failed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    std::string message = std::string(what) + ": " + cudaGetErrorString(status);
    if (status == cudaErrorMemoryAllocation) {
        size_t free = 0, total = 0;
        cudaGetLastError();
        cudaMemGetInfo(&free, &total);
        message += " (" + std::to_string(free >> 20) + " MiB of " + std::to_string(total >> 20) + " free)";
    }
    throw Failed(message);
}
#define CHECK(call) check((call), #call)

template <typename Element>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(long count) : count_(count) {
        check(cudaMalloc(&data_, bytes() ? bytes() : 1),
              ("allocate " + std::to_string(bytes() >> 20) + " MiB").c_str());
    }
    explicit Buffer(const std::vector<Element>& values) : Buffer(static_cast<long>(values.size())) {
        CHECK(cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice));
    }
    ~Buffer() { cudaFree(data_); }
    Buffer(Buffer&& other) noexcept : data_(other.data_), count_(other.count_) { other.data_ = nullptr; }
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(count_, other.count_);
        return *this;
    }

    Element* get() const { return data_; }
    long count() const { return count_; }
    size_t bytes() const { return static_cast<size_t>(count_) * sizeof(Element); }
    // Every bit set: no number in floating point, so that what a kernel leaves out shows.
    void poison() const { CHECK(cudaMemset(data_, 0xFF, bytes())); }
    std::vector<Element> host() const { return host(0, count_); }
    std::vector<Element> host(long first, long count) const {
        std::vector<Element> values(static_cast<size_t>(count));
        CHECK(cudaMemcpy(values.data(), data_ + first, static_cast<size_t>(count) * sizeof(Element),
                         cudaMemcpyDeviceToHost));
        return values;
    }

private:
    Element* data_ = nullptr;
    long count_ = 0;
};
