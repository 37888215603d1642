// Attention of prompts, by number, new and cached tokens, heads and head size. The kernel is this project's own: right,
// with tensor cores, but no FlashAttention; the torch twin measures those.
#include "attention.h"
#include "kernels/prefill.cuh"

namespace {

constexpr int CHECKED = 48;

template <int D>
Ready prepared(const Heads& shape, int batch, int fresh, int past) {
    const long length = past + fresh, queries = static_cast<long>(batch) * fresh;
    auto q = random_bf16(queries * shape.heads * D, 21);
    auto k = random_bf16(batch * length * shape.kv_heads * D, 22),
         v = random_bf16(batch * length * shape.kv_heads * D, 23);
    auto out = std::make_shared<Buffer<bf16>>(queries * shape.heads * D);
    out->poison();
    CHECK(cudaFuncSetAttribute(prefill_attention<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               prefill_shared_bytes<D>()));
    const Prompt prompt{q->get(),    k->get(),       v->get(),
                        out->get(),  fresh,          past,
                        shape.heads, shape.kv_heads, LOG2_E / std::sqrt(static_cast<float>(D))};
    const dim3 grid(static_cast<unsigned>((fresh + PREFILL_QUERIES - 1) / PREFILL_QUERIES),
                    static_cast<unsigned>(shape.heads), static_cast<unsigned>(batch));
    Ready ready;
    ready.tolerance = ATTENTION_TOLERANCE;
    ready.launch = [=, hold = std::vector{q, k, v, out}](cudaStream_t stream) {
        prefill_attention<D><<<grid, PREFILL_THREADS, prefill_shared_bytes<D>(), stream>>>(prompt);
    };
    ready.wrong = [=] {
        std::vector<AttendedRow> rows;
        for (int i = 0; i < CHECKED; ++i) {
            // The last token, which sees most, and others all over.
            const int sequence = i % batch, token = i < batch ? fresh - 1 : static_cast<int>(i * 7919l % fresh);
            rows.push_back(
                {sequence * fresh + token, static_cast<int>(i * 31l % shape.heads), sequence, past + token + 1});
        }
        std::vector<int> whole(static_cast<size_t>(batch));
        for (size_t i = 0; i < whole.size(); ++i) whole[i] = static_cast<int>(i);
        const Buffer<int> table(whole);
        PlainAttention plain{};
        plain.q = q->get();
        plain.k = k->get();
        plain.v = v->get();
        plain.table = table.get();
        plain.heads = shape.heads;
        plain.kv_heads = shape.kv_heads;
        plain.dim = D;
        plain.block = plain.most_keys = static_cast<int>(length);
        plain.table_width = 1;
        return compare_attention(plain, rows, *out);
    };
    return ready;
}

void measure_one(Bench& bench, const Heads& shape, int batch, int fresh, int past) {
    Case what = attention_case("prefill_attention", shape);
    what.point.add("batch", batch).add("new", fresh).add("past", past);
    const double seen = past + (fresh + 1) / 2.0, rows = static_cast<double>(batch) * fresh;
    what.flop = 4 * rows * seen * shape.heads * shape.dim;
    what.bytes = 2.0 * shape.dim * (2 * rows * shape.heads + 2.0 * batch * (past + fresh) * shape.kv_heads);
    bench.measure(what, [&] {
        return shape.dim == 64 ? prepared<64>(shape, batch, fresh, past) : prepared<128>(shape, batch, fresh, past);
    });
}

}  // namespace

void measure_prefill(Bench& bench) {
    const bool quick = bench.options.quick;
    const std::vector<int> batches = quick ? std::vector<int>{1, 4} : std::vector<int>{1, 2, 4, 8};
    const std::vector<int> news =
        quick ? std::vector<int>{64, 512, 2048} : std::vector<int>{16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
    const std::vector<int> pasts = quick ? std::vector<int>{4096} : std::vector<int>{1024, 4096, 16384, 32768};
    for (const Heads& shape : measured_heads(quick)) {
        for (const int batch : batches)
            for (const int fresh : news) measure_one(bench, shape, batch, fresh, 0);
        for (const int past : pasts)
            for (const int fresh : {128, 512, 2048}) measure_one(bench, shape, 1, fresh, past);
    }
}
