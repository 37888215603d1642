// Matrix products y = x w^T as cuBLASLt does them, by type and shape; the number of tokens m steps over the edges of
// tiles, where times jump.
#include <algorithm>

#include "bench.h"
#include "cublaslt.h"
#include "kernels/random.cuh"
#include "kernels/reference.cuh"

namespace {

constexpr int CHECKED = 512;

struct Shapes {
    std::vector<long> m, n, k;
};

// n and k of the projections of Llama 3.1 8B and 70B, whole and split over GPUs.
Shapes shapes(bool quick) {
    if (quick)
        return {
            {1, 8, 16, 17, 64, 65, 128, 129, 256, 257, 512, 1024, 2048, 4096, 8192}, {4096, 8192, 14336}, {4096, 8192}};
    return {{1,   2,   4,   8,   16,  17,  24,  32,   33,   48,   64,   65,   96,   128,  129,  192,  256,
             257, 320, 384, 385, 512, 513, 768, 1024, 1025, 1536, 2048, 2049, 3072, 4096, 4097, 6144, 8192},
            {1024, 2048, 4096, 6144, 8192, 14336, 28672},
            {2048, 4096, 8192, 14336}};
}

struct FromBf16 {
    __device__ float operator()(bf16 value) const { return __bfloat162float(value); }
};
struct FromFp8 {
    __device__ float operator()(fp8 value) const { return static_cast<float>(value); }
};
struct FromInt8 {
    __device__ float operator()(signed char value) const { return value; }
};

// Operands for the largest shape, of which smaller ones use the first part.
template <typename Element, typename Out>
struct Operands {
    Buffer<Element> x, w;
    Buffer<Out> y;

    Operands(const Shapes& shapes, float spread)
        : x(shapes.m.back() * shapes.k.back()),
          w(shapes.n.back() * shapes.k.back()),
          y(shapes.m.back() * shapes.n.back()) {
        fill_random<<<4096, 256>>>(x.get(), x.count(), spread, 11u);
        fill_random<<<4096, 256>>>(w.get(), w.count(), spread, 12u);
        CHECK(cudaDeviceSynchronize());
    }
};

float as_float(bf16 value) { return __bfloat162float(value); }
float as_float(int value) { return static_cast<float>(value); }

template <typename Element, typename Out, typename Convert>
double compare(const Operands<Element, Out>& own, long m, long n, long k, Convert convert) {
    std::vector<int2> places;
    for (int i = 0; i < CHECKED; ++i)
        places.push_back({static_cast<int>(i * 7919l % m), static_cast<int>(i * 104729l % n)});
    const Buffer<int2> at(places);
    Buffer<float> sums(CHECKED);
    plain_products<<<CHECKED / 8, 256>>>(own.x.get(), own.w.get(), at.get(), CHECKED, static_cast<int>(k), sums.get(),
                                         convert);
    CHECK(cudaGetLastError());
    std::vector<float> found;
    for (const int2 place : places) found.push_back(as_float(own.y.host(place.x * n + place.y, 1)[0]));
    return relative_error(found, sums.host());
}

template <typename Element, typename Out, typename Convert>
void measure_type(Bench& bench, CublasLt& library, Precision precision, const char* dtype, float spread,
                  double tolerance, Convert convert) {
    Shapes all = shapes(bench.options.quick);
    if (precision == Precision::int8) {
        // Its int8 kernels take m in multiples of 4; both sides of an edge stay apart.
        for (long& m : all.m) m = (m + 3) / 4 * 4;
        all.m.erase(std::unique(all.m.begin(), all.m.end()), all.m.end());
    }
    Case what;
    what.op = "gemm";
    what.library = "cublaslt-" + library.version();
    std::unique_ptr<Operands<Element, Out>> own;
    for (const long n : all.n)
        for (const long k : all.k)
            for (const long m : all.m) {
                what.point = Json().add("dtype", dtype).add("m", m).add("n", n).add("k", k);
                what.flop = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
                what.bytes = static_cast<double>((m * k + n * k) * static_cast<long>(sizeof(Element)) +
                                                 m * n * static_cast<long>(sizeof(Out)));
                bench.measure(what, [&] {
                    if (!own) own = std::make_unique<Operands<Element, Out>>(all, spread);
                    const auto product = library.product(precision, m, n, k);
                    CHECK(cudaMemset(own->y.get(), 0xFF, static_cast<size_t>(m * n) * sizeof(Out)));
                    Ready ready;
                    ready.tolerance = tolerance;
                    ready.launch = [&library, &own, product](cudaStream_t stream) {
                        library.run(*product, own->x.get(), own->w.get(), own->y.get(), stream);
                    };
                    ready.wrong = [&own, m, n, k, convert] { return compare(*own, m, n, k, convert); };
                    return ready;
                });
            }
}

}  // namespace

void measure_gemm(Bench& bench) {
    CublasLt library(bench.options.cublaslt);
    if (!library.present()) {
        bench.note("cuBLASLt cannot be loaded (" + library.missing() +
                   "): no matrix products; name its file with --cublaslt");
        return;
    }
    measure_type<bf16, bf16>(bench, library, Precision::bfloat16, "bfloat16", 1.0f, 1e-2, FromBf16());
    // Fast accumulation keeps fewer bits of partial sums, as engines have it.
    if (bench.gpu.major > 8 || (bench.gpu.major == 8 && bench.gpu.minor == 9))
        measure_type<fp8, bf16>(bench, library, Precision::fp8, "fp8", 1.0f, 3e-2, FromFp8());
    else
        bench.note("this GPU has no fp8 matrix products");
    measure_type<signed char, int>(bench, library, Precision::int8, "int8", 20.0f, 1e-4, FromInt8());
}
