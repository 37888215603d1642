// What prompts' and decodes' attention share on the host: heads to measure, data, and the check against a reference.
#pragma once
#include <cmath>

#include "bench.h"
#include "kernels/random.cuh"
#include "kernels/reference.cuh"

constexpr double ATTENTION_TOLERANCE = 2e-2;  // weights and outputs are rounded to bf16 (0.4 %) on the way
constexpr float LOG2_E = 1.44269504f;

struct Heads {
    int heads, kv_heads, dim;
};

// Llama 3.1 8B whole and on one of 4 GPUs, 70B whole and on one of 8, and a model with heads of 64.
inline std::vector<Heads> measured_heads(bool quick) {
    if (quick) return {{32, 8, 128}};
    return {{32, 8, 128}, {8, 2, 128}, {64, 8, 128}, {8, 1, 128}, {32, 8, 64}};
}

inline Case attention_case(const char* op, const Heads& shape) {
    Case what;
    what.op = op;
    what.library = "own-kernels";
    what.point.add("kv_dtype", "bfloat16").add("attn_dtype", "bfloat16").add("head_dim", shape.dim).add("window", 0);
    what.point.add("heads", shape.heads).add("kv_heads", shape.kv_heads);
    return what;
}

// Relative error of rows of `out` ([queries][heads][dim]) against the plain kernel.
inline double compare_attention(PlainAttention work, const std::vector<AttendedRow>& rows, const Buffer<bf16>& out) {
    const Buffer<AttendedRow> at(rows);
    const auto count = static_cast<long>(rows.size());
    Buffer<float> scores(count * work.most_keys), wanted(count * work.dim);
    work.rows = at.get();
    work.scores = scores.get();
    work.out = wanted.get();
    work.scale = 1 / std::sqrt(static_cast<float>(work.dim));
    plain_attention<<<static_cast<unsigned>(count), REFERENCE_THREADS>>>(work);
    CHECK(cudaGetLastError());
    std::vector<float> found;
    for (const AttendedRow& row : rows)
        for (const bf16 value : out.host((static_cast<long>(row.query) * work.heads + row.head) * work.dim, work.dim))
            found.push_back(__bfloat162float(value));
    return relative_error(found, wanted.host());
}

inline std::shared_ptr<Buffer<bf16>> random_bf16(long count, unsigned seed) {
    auto buffer = std::make_shared<Buffer<bf16>>(count);
    fill_random<<<4096, 256>>>(buffer->get(), count, 1.0f, seed);
    CHECK(cudaGetLastError());
    return buffer;
}
