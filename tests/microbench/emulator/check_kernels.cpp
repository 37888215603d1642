// Runs the harness's kernels on the emulated GPU and prints, for each, how far it is from plain arithmetic in double.
#include <algorithm>
#include <cstdio>
#include <string>

#include "kernels/allreduce.cuh"
#include "kernels/decode.cuh"
#include "kernels/memory.cuh"
#include "kernels/prefill.cuh"
#include "kernels/reference.cuh"
#include "kernels/small.cuh"

namespace {

constexpr float LOG2_E = 1.44269504f;
using Values = std::vector<bf16>;

Values random_values(size_t count, unsigned seed) {
    Values values;
    unsigned long state = seed;
    for (size_t i = 0; i < count; ++i) {
        state = state * 6364136223846793005ul + 1442695040888963407ul;
        values.push_back(__float2bfloat16(static_cast<float>(state >> 40) / (1 << 23) - 1));
    }
    return values;
}

double real(bf16 value) { return __bfloat162float(value); }

double error(const std::vector<double>& found, const std::vector<double>& wanted) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
        difference += (found[i] - wanted[i]) * (found[i] - wanted[i]);
        size += wanted[i] * wanted[i];
    }
    return std::sqrt(difference / size);
}

void report(const std::string& what, double error) { std::printf("%s %.3g\n", what.c_str(), error); }

// One row of attention; `slot` says where a key is, in tokens.
std::vector<double> attended(const bf16* q, const Values& k, const Values& v, int keys, int kv_head, int kv_heads,
                             int dim, const std::function<long(int)>& slot) {
    std::vector<double> weights, out(static_cast<size_t>(dim));
    double most = -1e300, sum = 0;
    for (int key = 0; key < keys; ++key) {
        double score = 0;
        for (int d = 0; d < dim; ++d) score += real(q[d]) * real(k[(slot(key) * kv_heads + kv_head) * dim + d]);
        weights.push_back(score / std::sqrt(dim));
        most = std::max(most, weights.back());
    }
    for (int key = 0; key < keys; ++key) {
        const double weight = std::exp(weights[key] - most);
        sum += weight;
        for (int d = 0; d < dim; ++d) out[d] += weight * real(v[(slot(key) * kv_heads + kv_head) * dim + d]);
    }
    for (double& each : out) each /= sum;
    return out;
}

// NaN in whatever is not written shows as an error that is no number.
Values unwritten(size_t count) { return Values(count, __float2bfloat16(NAN)); }

template <int D>
void check_prefill(int batch, int fresh, int past, int heads, int kv_heads) {
    const int length = past + fresh;
    const Values q = random_values(1ul * batch * fresh * heads * D, 1),
                 k = random_values(1ul * batch * length * kv_heads * D, 2),
                 v = random_values(1ul * batch * length * kv_heads * D, 3);
    Values out = unwritten(q.size());
    const Prompt prompt{
        q.data(), k.data(), v.data(), out.data(), fresh, past, heads, kv_heads, LOG2_E / std::sqrt(float(D))};
    launch({(fresh + 63u) / 64, unsigned(heads), unsigned(batch)}, PREFILL_THREADS,
           [=] { prefill_attention<D>(prompt); });
    std::vector<double> found, wanted;
    for (int b = 0; b < batch; ++b)
        for (int token = 0; token < fresh; ++token)
            for (int head = 0; head < heads; ++head) {
                const long at = ((1l * b * fresh + token) * heads + head) * D;
                const auto row = attended(q.data() + at, k, v, past + token + 1, head / (heads / kv_heads), kv_heads, D,
                                          [&](int key) { return 1l * b * length + key; });
                wanted.insert(wanted.end(), row.begin(), row.end());
                for (int d = 0; d < D; ++d) found.push_back(real(out[at + d]));
            }
    report("prefill dim=" + std::to_string(D) + " batch=" + std::to_string(batch) + " new=" + std::to_string(fresh) +
               " past=" + std::to_string(past),
           error(found, wanted));
}

template <int D>
void check_decode(const std::vector<int>& contexts, int heads, int kv_heads, int block, int splits) {
    const int batch = int(contexts.size()),
              width = (*std::max_element(contexts.begin(), contexts.end()) + block - 1) / block;
    std::vector<int> table;
    for (int i = 0; i < batch * width; ++i) table.push_back((i * 7 + 3) % (batch * width));
    const Values q = random_values(1ul * batch * heads * D, 4),
                 k = random_values(1ul * batch * width * block * kv_heads * D, 5), v = random_values(k.size(), 6);
    Values out = unwritten(q.size());
    std::vector<float> parts(1ul * batch * heads * splits * D, NAN), weights(1ul * batch * heads * splits, NAN);
    const Decodes work{
        q.data(),   k.data(), v.data(), table.data(), contexts.data(), parts.data(), weights.data(),
        out.data(), heads,    kv_heads, block,        width,           splits,       LOG2_E / std::sqrt(float(D))};
    launch({unsigned(splits), unsigned(kv_heads), unsigned(batch)}, DECODE_THREADS, [=] { decode_attention<D>(work); });
    launch({unsigned(heads), unsigned(batch), 1}, D, [=] { combine_splits<D>(work); });
    std::vector<double> found, wanted, plain;
    std::vector<AttendedRow> rows;
    for (int b = 0; b < batch; ++b)
        for (int head = 0; head < heads; ++head) {
            const long at = (1l * b * heads + head) * D;
            const auto row =
                attended(q.data() + at, k, v, contexts[b], head / (heads / kv_heads), kv_heads, D,
                         [&](int key) { return 1l * table[b * width + key / block] * block + key % block; });
            wanted.insert(wanted.end(), row.begin(), row.end());
            for (int d = 0; d < D; ++d) found.push_back(real(out[at + d]));
            rows.push_back({b, head, b, contexts[b]});
        }
    const std::string where = " dim=" + std::to_string(D) + " batch=" + std::to_string(batch) +
                              " block=" + std::to_string(block) + " splits=" + std::to_string(splits);
    report("decode" + where, error(found, wanted));

    // The kernel that others are checked against on a GPU, checked here.
    const int most = width * block;
    std::vector<float> scores(rows.size() * most), result(rows.size() * D, NAN);
    const PlainAttention reference{
        q.data(), k.data(), v.data(), table.data(), rows.data(), scores.data(), result.data(),
        heads,    kv_heads, D,        block,        width,       most,          1 / std::sqrt(float(D))};
    launch({unsigned(rows.size()), 1, 1}, REFERENCE_THREADS, [=] { plain_attention(reference); });
    plain.assign(result.begin(), result.end());
    report("plain_attention" + where, error(plain, wanted));
}

void check_products() {
    const int m = 5, n = 7, k = 100;
    const Values x = random_values(m * k, 7), w = random_values(n * k, 8);
    std::vector<int2> places;
    for (int i = 0; i < m * n; ++i) places.push_back(int2{i / n, i % n});
    std::vector<float> out(places.size(), NAN);
    launch({9, 1, 1}, 128, [&] {
        plain_products(x.data(), w.data(), places.data(), int(places.size()), k, out.data(),
                       [](bf16 value) { return __bfloat162float(value); });
    });
    std::vector<double> wanted;
    for (const int2 place : places) {
        wanted.push_back(0);
        for (int i = 0; i < k; ++i) wanted.back() += real(x[place.x * k + i]) * real(w[place.y * k + i]);
    }
    report("plain_products", error({out.begin(), out.end()}, wanted));
}

void check_small() {
    const int tokens = 3, width = 2056;
    const Values x = random_values(tokens * width, 9), residual = random_values(tokens * width, 10),
                 weight = random_values(width, 11);
    Values sum = unwritten(tokens * width), out = unwritten(tokens * width);
    launch({unsigned(tokens), 1, 1}, SMALL_THREADS,
           [&] { add_rms_norm(x.data(), residual.data(), weight.data(), sum.data(), out.data(), width, 1e-5f); });
    std::vector<double> found, wanted;
    for (int row = 0; row < tokens; ++row) {
        double square = 0;
        for (int i = row * width; i < (row + 1) * width; ++i) square += std::pow(real(x[i]) + real(residual[i]), 2);
        for (int i = row * width; i < (row + 1) * width; ++i) {
            const double total = real(x[i]) + real(residual[i]);
            wanted.push_back(total);
            wanted.push_back(total * real(weight[i - row * width]) / std::sqrt(square / width + 1e-5));
            found.push_back(real(sum[i]));
            found.push_back(real(out[i]));
        }
    }
    report("add_rms_norm", error(found, wanted));

    found.clear(), wanted.clear();
    const Values both = random_values(2 * tokens * width, 12);
    launch({unsigned(tokens), 1, 1}, SMALL_THREADS, [&] { silu_mul(both.data(), out.data(), width); });
    for (int i = 0; i < tokens * width; ++i) {
        const int at = i / width * 2 * width + i % width;
        wanted.push_back(real(both[at]) / (1 + std::exp(-real(both[at]))) * real(both[at + width]));
        found.push_back(real(out[i]));
    }
    report("silu_mul", error(found, wanted));

    found.clear(), wanted.clear();
    const int heads = 3, dim = 128;
    const Values in = random_values(tokens * heads * dim, 13), table = random_values(10 * dim, 14);
    const std::vector<int> positions = {7, 0, 9};
    Values turned = unwritten(in.size());
    launch({unsigned(tokens), 1, 1}, SMALL_THREADS,
           [&] { rotate(in.data(), turned.data(), table.data(), positions.data(), heads, dim); });
    for (int i = 0; i < tokens * heads * dim; ++i) {
        const int column = i % dim % 64, first = i - i % dim + column, angle = positions[i / (heads * dim)] * dim;
        const double c = real(table[angle + column]), s = real(table[angle + 64 + column]);
        wanted.push_back(i % dim < 64 ? real(in[first]) * c - real(in[first + 64]) * s
                                      : real(in[first + 64]) * c + real(in[first]) * s);
        found.push_back(real(turned[i]));
    }
    report("rotate", error(found, wanted));
}

void check_memory() {
    const long count = 9001;
    std::vector<uint4> from(count), to(count);
    unsigned seen = 0, wrong = 0, wanted = 0;
    launch({3, 1, 1}, 64, [&] { write_memory(from.data(), count, 5); });
    launch({3, 1, 1}, 64, [&] { copy_memory(from.data(), to.data(), count); });
    launch({3, 1, 1}, 64, [&] { read_memory(to.data(), count, &seen); });
    for (const uint4& each : from) wanted ^= each.x ^ each.y ^ each.z ^ each.w;
    report("read_memory", seen != wanted || seen == 0);
    launch({2, 1, 1}, 64, [&] { count_differences(to.data(), nullptr, count, 5, &wrong); });
    report("copy_memory", wrong);
    to[77].z += 1;
    launch({2, 1, 1}, 64, [&] { count_differences(to.data(), from.data(), count, 0, &wrong); });
    report("count_differences", wrong != 1);
}

// All blocks of all GPUs at once, as they wait for each other; twice, to see that flags can be used again.
void check_allreduce(int gpus, bool at_once) {
    const long count = 8 * gpus * 37;
    std::vector<Values> from, to(gpus, unwritten(count)), halfway(gpus, unwritten(count / gpus));
    std::vector<std::vector<unsigned>> flags(gpus, std::vector<unsigned>(REDUCE_BLOCKS * MOST_GPUS)),
        rounds(gpus, std::vector<unsigned>(REDUCE_BLOCKS));
    for (int gpu = 0; gpu < gpus; ++gpu) from.push_back(random_values(count, 20 + gpu));
    std::vector<double> found, wanted;
    for (int again = 0; again < 2; ++again) {
        for (int gpu = 0; gpu < gpus; ++gpu) from[gpu] = random_values(count, 20 + gpu + 100 * again);
        std::vector<Running> running;
        for (int gpu = 0; gpu < gpus; ++gpu)
            for (unsigned block = 0; block < 2; ++block) {
                Peers peers{};
                for (int other = 0; other < gpus; ++other) {
                    peers.data[other] = from[other].data();
                    peers.halfway[other] = halfway[other].data();
                    peers.flags[other] = flags[other].data();
                }
                peers.rounds = rounds[gpu].data();
                peers.rank = gpu;
                peers.count = gpus;
                bf16* out = to[gpu].data();
                running.emplace_back(Place{2, 1, 1}, Place{block, 0, 0}, 32, [=] {
                    if (at_once)
                        reduce_at_once(peers, out, count);
                    else
                        reduce_in_two_steps(peers, out, count);
                });
            }
        for (Running& each : running) each.join();
        for (int gpu = 0; gpu < gpus; ++gpu)
            for (long i = 0; i < count; ++i) {
                wanted.push_back(0);
                for (int other = 0; other < gpus; ++other) wanted.back() += real(from[other][i]);
                found.push_back(real(to[gpu][i]));
            }
    }
    report(std::string(at_once ? "reduce_at_once" : "reduce_in_two_steps") + " gpus=" + std::to_string(gpus),
           error(found, wanted));
}

}  // namespace

int main() {
    check_memory();
    check_small();
    check_products();
    check_prefill<128>(1, 70, 0, 2, 1);
    check_prefill<128>(2, 16, 75, 2, 2);
    check_prefill<64>(1, 130, 3, 1, 1);
    check_decode<128>({130, 1, 300}, 8, 2, 16, 1);
    check_decode<128>({130, 1, 300}, 4, 1, 16, 3);
    check_decode<64>({65, 64}, 16, 1, 64, 4);
    check_allreduce(2, true);
    check_allreduce(2, false);
    check_allreduce(4, false);
}
