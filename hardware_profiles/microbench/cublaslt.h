// Matrix products by cuBLASLt, loaded at run time: a bare nvcc has neither its header nor its library.
#pragma once
#include <cuda_runtime.h>

#include <memory>
#include <string>

#include "buffer.h"

enum class Precision { bfloat16, fp8, int8 };

class CublasLt {
public:
    // Looks at `path`, then where the loader looks. `missing` says why it is not there.
    explicit CublasLt(const std::string& path);
    ~CublasLt();
    CublasLt(const CublasLt&) = delete;
    CublasLt& operator=(const CublasLt&) = delete;

    bool present() const { return handle_ != nullptr; }
    const std::string& missing() const { return missing_; }
    std::string version() const;

    class Product;
    // y [m][n] = x [m][k] w [n][k]^T with the algorithm cuBLASLt's heuristic puts first; Failed where it has none.
    std::shared_ptr<Product> product(Precision precision, long m, long n, long k);
    void run(const Product& product, const void* x, const void* w, void* y, cudaStream_t stream);

private:
    template <typename Function>
    Function find(const char* name);
    void* library_ = nullptr;
    void* handle_ = nullptr;
    std::string missing_;
    std::unique_ptr<Buffer<unsigned char>> workspace_;
    std::unique_ptr<Buffer<float>> one_;
};
