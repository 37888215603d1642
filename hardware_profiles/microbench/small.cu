// Memory-bound small operators of a transformer layer, in bf16.
#include "bench.h"
#include "kernels/random.cuh"
#include "kernels/small.cuh"

namespace {

constexpr float EPSILON = 1e-5f;
constexpr double TOLERANCE = 1e-2;  // bf16 rounds to 0.4 %

using Values = std::shared_ptr<Buffer<bf16>>;

Values random_values(long count, unsigned seed) {
    auto buffer = std::make_shared<Buffer<bf16>>(count);
    fill_random<<<1024, 256>>>(buffer->get(), count, 1.0f, seed);
    return buffer;
}

Values unwritten(long count) {
    auto buffer = std::make_shared<Buffer<bf16>>(count);
    buffer->poison();
    return buffer;
}

// Rows of a buffer that are compared with a reference on the host: the first, the last, one between.
std::vector<long> looked_at(long tokens) { return {0, tokens / 2, tokens - 1}; }

std::vector<float> row_of(const Values& buffer, long row, long width) {
    std::vector<float> values;
    for (const bf16 value : buffer->host(row * width, width)) values.push_back(__bfloat162float(value));
    return values;
}

Case small_case(const char* part, long tokens, long width, double moved) {
    Case what;
    what.op = "small";
    what.library = "own-kernels";
    what.point.add("part", part).add("tokens", tokens).add("width", width);
    what.bytes = moved * static_cast<double>(tokens * width * 2);
    return what;
}

Ready norm(long tokens, long width) {
    const Values x = random_values(tokens * width, 1), residual = random_values(tokens * width, 2),
                 weight = random_values(width, 3);
    const Values sum = unwritten(tokens * width), out = unwritten(tokens * width);
    Ready ready;
    ready.tolerance = TOLERANCE;
    ready.launch = [=](cudaStream_t stream) {
        add_rms_norm<<<tokens, SMALL_THREADS, width * sizeof(float), stream>>>(x->get(), residual->get(), weight->get(),
                                                                               sum->get(), out->get(), width, EPSILON);
    };
    ready.wrong = [=] {
        std::vector<float> found, wanted;
        const std::vector<float> scale = row_of(weight, 0, width);
        for (const long row : looked_at(tokens)) {
            const std::vector<float> a = row_of(x, row, width), b = row_of(residual, row, width);
            double square = 0;
            for (long i = 0; i < width; ++i) square += (double(a[i]) + b[i]) * (double(a[i]) + b[i]);
            for (long i = 0; i < width; ++i) {
                wanted.push_back(a[i] + b[i]);
                wanted.push_back(
                    static_cast<float>((double(a[i]) + b[i]) * scale[i] / std::sqrt(square / width + EPSILON)));
            }
            const std::vector<float> c = row_of(sum, row, width), d = row_of(out, row, width);
            for (long i = 0; i < width; ++i) {
                found.push_back(c[i]);
                found.push_back(d[i]);
            }
        }
        return relative_error(found, wanted);
    };
    return ready;
}

Ready activation(long tokens, long width) {
    const Values in = random_values(2 * tokens * width, 4), out = unwritten(tokens * width);
    Ready ready;
    ready.tolerance = TOLERANCE;
    ready.launch = [=](cudaStream_t stream) {
        silu_mul<<<tokens, SMALL_THREADS, 0, stream>>>(in->get(), out->get(), width);
    };
    ready.wrong = [=] {
        std::vector<float> found, wanted;
        for (const long row : looked_at(tokens)) {
            const std::vector<float> both = row_of(in, row, 2 * width), own = row_of(out, row, width);
            for (long i = 0; i < width; ++i) wanted.push_back(both[i] / (1 + std::exp(-both[i])) * both[width + i]);
            found.insert(found.end(), own.begin(), own.end());
        }
        return relative_error(found, wanted);
    };
    return ready;
}

Ready rotary(long tokens, long width) {
    constexpr int DIM = 128, POSITIONS = 4096;
    const Values in = random_values(tokens * width, 5), out = unwritten(tokens * width),
                 table = random_values(static_cast<long>(POSITIONS) * DIM, 6);
    std::vector<int> positions(static_cast<size_t>(tokens));
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int>((i * 977) % POSITIONS);
    auto at = std::make_shared<Buffer<int>>(positions);
    Ready ready;
    ready.tolerance = TOLERANCE;
    ready.launch = [=](cudaStream_t stream) {
        rotate<<<tokens, SMALL_THREADS, 0, stream>>>(in->get(), out->get(), table->get(), at->get(), width / DIM, DIM);
    };
    ready.wrong = [=] {
        std::vector<float> found, wanted;
        for (const long row : looked_at(tokens)) {
            const std::vector<float> a = row_of(in, row, width), own = row_of(out, row, width),
                                     angle = row_of(table, positions[static_cast<size_t>(row)], DIM);
            for (long i = 0; i < width; ++i) {
                const long low = i % DIM % (DIM / 2), first = i - i % DIM + low;
                const float c = angle[low], s = angle[DIM / 2 + low], x = a[first], y = a[first + DIM / 2];
                wanted.push_back(i % DIM < DIM / 2 ? x * c - y * s : y * c + x * s);
            }
            found.insert(found.end(), own.begin(), own.end());
        }
        return relative_error(found, wanted);
    };
    return ready;
}

}  // namespace

void measure_small(Bench& bench) {
    const std::vector<long> tokens =
        bench.options.quick ? std::vector<long>{1, 64, 1024, 8192}
                            : std::vector<long>{1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
    for (const long count : tokens) {
        for (const long width : {4096l, 8192l})
            // Reads two rows, writes two.
            bench.measure(small_case("add_rms_norm", count, width, 4), [&] { return norm(count, width); });
        for (const long width : {14336l, 28672l})
            bench.measure(small_case("silu_mul", count, width, 3), [&] { return activation(count, width); });
        // Queries and keys of 32 and 8, of 64 and 8 heads.
        for (const long width : {5120l, 9216l})
            bench.measure(small_case("rotary", count, width, 2), [&] { return rotary(count, width); });
    }
}
