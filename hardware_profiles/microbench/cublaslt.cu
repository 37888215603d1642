#include "cublaslt.h"

#include <dlfcn.h>
#include <library_types.h>

#include <cstdint>
#include <vector>

// Names, numbers and layouts below are those of cuBLASLt's documented C interface (cublasLt.h, CUDA 11.8 to 13).
namespace {

constexpr size_t WORKSPACE = 64u << 20;
constexpr int COMPUTE_32F = 68, COMPUTE_32I = 72, TRANSPOSE = 1;
constexpr int DESC_TRANSA = 3, DESC_A_SCALE = 17, DESC_B_SCALE = 18, DESC_FAST_ACCUMULATION = 25,
              PREFERENCE_WORKSPACE = 1;

struct Algorithm {
    uint64_t data[8];
};
struct Heuristic {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

using Destroy = int (*)(void*);

void expect(int status, const char* what) {
    if (status != 0) throw Failed(std::string("cuBLASLt, ") + what + ": status " + std::to_string(status));
}

}  // namespace

class CublasLt::Product {
public:
    ~Product() {
        if (description) free_description(description);
        for (void* layout : {w, x, y})
            if (layout) free_layout(layout);
    }
    void *description = nullptr, *w = nullptr, *x = nullptr, *y = nullptr;
    Algorithm algorithm{};
    bool integers = false;
    Destroy free_description = nullptr, free_layout = nullptr;
};

template <typename Function>
Function CublasLt::find(const char* name) {
    const auto function = reinterpret_cast<Function>(dlsym(library_, name));
    if (!function) throw Failed(std::string("this cuBLASLt has no ") + name);
    return function;
}

CublasLt::CublasLt(const std::string& path) {
    std::vector<std::string> names = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11", "libcublasLt.so"};
    if (!path.empty()) names.insert(names.begin(), path);
    for (const std::string& name : names)
        if ((library_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)))
            break;
        else if (missing_.empty())
            missing_ = dlerror();
    if (!library_) return;
    const int status = find<int (*)(void**)>("cublasLtCreate")(&handle_);
    if (status != 0) {
        handle_ = nullptr;
        missing_ = "cublasLtCreate: status " + std::to_string(status);
        return;
    }
    workspace_ = std::make_unique<Buffer<unsigned char>>(static_cast<long>(WORKSPACE));
    one_ = std::make_unique<Buffer<float>>(std::vector<float>{1.0f});
}

CublasLt::~CublasLt() {
    if (handle_) find<Destroy>("cublasLtDestroy")(handle_);
}

std::string CublasLt::version() const {
    const auto ask = reinterpret_cast<size_t (*)()>(dlsym(library_, "cublasLtGetVersion"));
    // 130100 is 13.1.0, and 120803 was 12.8.3.
    const size_t code = ask ? ask() : 0;
    return std::to_string(code / 10000) + "." + std::to_string(code / 100 % 100) + "." + std::to_string(code % 100);
}

std::shared_ptr<CublasLt::Product> CublasLt::product(Precision precision, long m, long n, long k) {
    const bool integers = precision == Precision::int8;
    const int in = integers ? CUDA_R_8I : precision == Precision::fp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
    const int out = integers ? CUDA_R_32I : CUDA_R_16BF;
    auto product = std::make_shared<Product>();
    product->integers = integers;
    product->free_description = find<Destroy>("cublasLtMatmulDescDestroy");
    product->free_layout = find<Destroy>("cublasLtMatrixLayoutDestroy");
    const auto set = find<int (*)(void*, int, const void*, size_t)>("cublasLtMatmulDescSetAttribute");
    const auto layout = find<int (*)(void**, int, uint64_t, uint64_t, int64_t)>("cublasLtMatrixLayoutCreate");
    expect(find<int (*)(void**, int, int)>("cublasLtMatmulDescCreate")(
               &product->description, integers ? COMPUTE_32I : COMPUTE_32F, integers ? CUDA_R_32I : CUDA_R_32F),
           "description");
    // It counts columns first: y^T = w x^T with w read transposed, which is the order that every precision supports.
    const int transpose = TRANSPOSE;
    expect(set(product->description, DESC_TRANSA, &transpose, sizeof transpose), "transpose");
    if (precision == Precision::fp8) {
        const int8_t fast = 1;
        const void* one = one_->get();
        expect(set(product->description, DESC_A_SCALE, &one, sizeof one), "scale");
        expect(set(product->description, DESC_B_SCALE, &one, sizeof one), "scale");
        expect(set(product->description, DESC_FAST_ACCUMULATION, &fast, sizeof fast), "fast accumulation");
    }
    expect(layout(&product->w, in, static_cast<uint64_t>(k), static_cast<uint64_t>(n), k), "layout of w");
    expect(layout(&product->x, in, static_cast<uint64_t>(k), static_cast<uint64_t>(m), k), "layout of x");
    expect(layout(&product->y, out, static_cast<uint64_t>(n), static_cast<uint64_t>(m), n), "layout of y");

    void* preference = nullptr;
    expect(find<int (*)(void**)>("cublasLtMatmulPreferenceCreate")(&preference), "preference");
    const uint64_t space = WORKSPACE;
    const int given = find<int (*)(void*, int, const void*, size_t)>("cublasLtMatmulPreferenceSetAttribute")(
        preference, PREFERENCE_WORKSPACE, &space, sizeof space);
    Heuristic best{};
    int found = 0;
    const auto choose = find<int (*)(void*, void*, void*, void*, void*, void*, void*, int, Heuristic*, int*)>(
        "cublasLtMatmulAlgoGetHeuristic");
    const int status = choose(handle_, product->description, product->w, product->x, product->y, product->y, preference,
                              1, &best, &found);
    find<Destroy>("cublasLtMatmulPreferenceDestroy")(preference);
    expect(given, "workspace");
    if (status != 0 || found == 0)
        throw Failed("cuBLASLt has no algorithm for this shape and type (status " + std::to_string(status) + ")");
    product->algorithm = best.algorithm;
    return product;
}

void CublasLt::run(const Product& product, const void* x, const void* w, void* y, cudaStream_t stream) {
    const float one = 1, zero = 0;
    const int whole_one = 1, whole_zero = 0;
    const void* alpha = product.integers ? static_cast<const void*>(&whole_one) : &one;
    const void* beta = product.integers ? static_cast<const void*>(&whole_zero) : &zero;
    using Multiply = int (*)(void*, void*, const void*, const void*, void*, const void*, void*, const void*,
                             const void*, void*, void*, void*, const Algorithm*, void*, size_t, cudaStream_t);
    static const auto multiply = find<Multiply>("cublasLtMatmul");
    expect(multiply(handle_, product.description, alpha, w, product.w, x, product.x, beta, y, product.y, y, product.y,
                    &product.algorithm, workspace_->get(), WORKSPACE, stream),
           "product");
}
