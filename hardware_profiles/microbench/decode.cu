// Attention of decodes over a paged KV cache, by number, context, heads, head size and block size. The kernel is this
// project's own: right, split over the GPU, but no FlashAttention.
#include <algorithm>

#include "attention.h"
#include "kernels/decode.cuh"

namespace {

constexpr int CHECKED = 32;
constexpr int BLOCKS_PER_SM = 3;  // what shared memory allows; splits aim at filling the GPU twice

// As many parts a sequence as make the GPU busy, none shorter than four tiles.
int splits(const cudaDeviceProp& gpu, const Heads& shape, int batch, int context) {
    const int wanted = 2 * BLOCKS_PER_SM * gpu.multiProcessorCount / (batch * shape.kv_heads);
    const int most = (context + 4 * DECODE_KEYS - 1) / (4 * DECODE_KEYS);
    return std::max(1, std::min(wanted, most));
}

// Keys and values of all sequences at their longest, in blocks dealt out in a random order, as an engine's become.
struct Cache {
    std::shared_ptr<Buffer<bf16>> k, v;
    std::vector<int> order;
    Cache(long tokens, int block, const Heads& shape)
        : k(random_bf16(tokens * shape.kv_heads * shape.dim, 31)),
          v(random_bf16(tokens * shape.kv_heads * shape.dim, 32)),
          order(static_cast<size_t>(tokens / block)) {
        unsigned long state = 1;
        for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
        for (size_t i = order.size(); i > 1; --i) {
            state = state * 6364136223846793005ul + 1442695040888963407ul;
            std::swap(order[i - 1], order[(state >> 33) % i]);
        }
    }
};

template <int D>
Ready prepared(Bench& bench, const Cache& cache, const Heads& shape, int batch, int context, int block) {
    const int width = (context + block - 1) / block, parts = splits(bench.gpu, shape, batch, context);
    const long heads = static_cast<long>(batch) * shape.heads;
    auto q = random_bf16(heads * D, 33), out = std::make_shared<Buffer<bf16>>(heads * D);
    auto partial = std::make_shared<Buffer<float>>(heads * parts * D),
         weights = std::make_shared<Buffer<float>>(heads * parts);
    auto table = std::make_shared<Buffer<int>>(
        std::vector<int>(cache.order.begin(), cache.order.begin() + static_cast<long>(batch) * width));
    auto contexts = std::make_shared<Buffer<int>>(std::vector<int>(static_cast<size_t>(batch), context));
    out->poison();
    partial->poison();
    weights->poison();
    CHECK(cudaFuncSetAttribute(decode_attention<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               decode_shared_bytes<D>()));
    const Decodes work{q->get(),        cache.k->get(),
                       cache.v->get(),  table->get(),
                       contexts->get(), partial->get(),
                       weights->get(),  out->get(),
                       shape.heads,     shape.kv_heads,
                       block,           width,
                       parts,           LOG2_E / std::sqrt(static_cast<float>(D))};
    const dim3 grid(static_cast<unsigned>(parts), static_cast<unsigned>(shape.kv_heads), static_cast<unsigned>(batch));
    const dim3 joined(static_cast<unsigned>(shape.heads), static_cast<unsigned>(batch));
    Ready ready;
    ready.tolerance = ATTENTION_TOLERANCE;
    ready.launch = [=](cudaStream_t stream) {
        decode_attention<D><<<grid, DECODE_THREADS, decode_shared_bytes<D>(), stream>>>(work);
        combine_splits<D><<<joined, D, 0, stream>>>(work);
    };
    ready.wrong = [=, k = cache.k, v = cache.v, hold_parts = partial, hold_weights = weights,
                   hold_contexts = contexts] {
        std::vector<AttendedRow> rows;
        for (int i = 0; i < CHECKED; ++i)
            rows.push_back({static_cast<int>(i * 7919l % batch), static_cast<int>(i * 31l % shape.heads),
                            static_cast<int>(i * 7919l % batch), context});
        PlainAttention plain{};
        plain.q = q->get();
        plain.k = k->get();
        plain.v = v->get();
        plain.table = table->get();
        plain.heads = shape.heads;
        plain.kv_heads = shape.kv_heads;
        plain.dim = D;
        plain.block = block;
        plain.table_width = width;
        plain.most_keys = context;
        return compare_attention(plain, rows, *out);
    };
    return ready;
}

}  // namespace

void measure_decode(Bench& bench) {
    const bool quick = bench.options.quick;
    const std::vector<int> batches =
        quick ? std::vector<int>{1, 16, 128} : std::vector<int>{1, 2, 4, 8, 16, 32, 64, 128, 256};
    const std::vector<int> contexts =
        quick ? std::vector<int>{512, 4096} : std::vector<int>{128, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    size_t free = 0, total = 0;
    CHECK(cudaMemGetInfo(&free, &total));
    for (const Heads& shape : measured_heads(quick)) {
        const long token = 4l * shape.kv_heads * shape.dim;
        for (const int block : {16, 64}) {
            if (block != 16 && (quick || shape.heads != 32 || shape.dim != 128)) continue;
            // No more than half of the memory, and no more than it takes to know.
            const long most = std::min<long>(static_cast<long>(free) / 2, 32l << 30) / token / block * block;
            long needed = 0;
            for (const int batch : batches)
                for (const int context : contexts)
                    if (const long tokens = static_cast<long>(batch) * ((context + block - 1) / block) * block;
                        tokens <= most)
                        needed = std::max(needed, tokens);
            std::unique_ptr<Cache> cache;
            for (const int batch : batches)
                for (const int context : contexts) {
                    if (static_cast<long>(batch) * ((context + block - 1) / block) * block > needed) continue;
                    Case what = attention_case("decode_attention", shape);
                    what.point.add("batch", batch).add("context", context).add("block", block);
                    what.flop = 4.0 * batch * context * shape.heads * shape.dim;
                    what.bytes = static_cast<double>(token) * batch * context + 4.0 * batch * shape.heads * shape.dim;
                    bench.measure(what, [&] {
                        if (!cache) cache = std::make_unique<Cache>(needed, block, shape);
                        return shape.dim == 64 ? prepared<64>(bench, *cache, shape, batch, context, block)
                                               : prepared<128>(bench, *cache, shape, batch, context, block);
                    });
                }
        }
    }
}
