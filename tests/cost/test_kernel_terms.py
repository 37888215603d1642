"""Terms of a model put together from single kernels: what runs in a layer, how often, and how it splits over GPUs."""

from dataclasses import replace

import numpy as np
import pytest
from support.gpus import LIBRARY, gemm, gpu, model, paper_roofline

from simulator.cost.kernel_terms import KernelTerms
from simulator.cost.parallelism import Parallelism
from simulator.cost.small_operators import small_operator
from simulator.model import Mlp, Precision

TOKENS = np.array([1.0, 7, 100, 3000])
HIDDEN, FFN, VOCAB, DIM = 1024, 4096, 32_000, 128


def product(tokens, inputs, outputs):
    return paper_roofline(2 * tokens * inputs * outputs, 2 * (tokens * (inputs + outputs) + inputs * outputs))


def small(numbers, tokens=TOKENS):
    return 1e-6 + 2 * numbers * tokens / 1e12


def reduced(size, gpus):
    return 10e-6 + 2 * (gpus - 1) / gpus * size / 100e9 if gpus > 1 else 0.0


def terms(shape=None, gpus=1, **sections):
    return KernelTerms(shape or model(), gpu(**sections), Parallelism(gpus), None)


@pytest.mark.parametrize("gpus", [1, 2, 8])
def test_a_layer_is_four_products_four_small_operators_and_two_sums(gpus):
    heads, ffn = 8 // gpus, FFN // gpus
    products = (
        product(TOKENS, HIDDEN, 3 * heads * DIM)
        + product(TOKENS, heads * DIM, HIDDEN)
        + product(TOKENS, HIDDEN, 2 * ffn)
        + product(TOKENS, ffn, HIDDEN)
    )
    operators = 2 * small(4 * HIDDEN) + small(2 * 2 * heads * DIM) + small(3 * ffn)
    layer = products + operators + 2 * reduced(2 * HIDDEN * TOKENS, gpus)
    embedding = small(2 * HIDDEN) + reduced(2 * HIDDEN * TOKENS, gpus)
    np.testing.assert_allclose(terms(gpus=gpus).dense(TOKENS), 2 * layer + embedding)


@pytest.mark.parametrize("gpus", [1, 4])
def test_the_head_is_split_and_its_logits_gathered(gpus):
    gathered = 0.5 * reduced(2 * VOCAB * TOKENS, gpus)
    expected = product(TOKENS, HIDDEN, VOCAB // gpus) + gathered + small(5 * VOCAB) + 10e-6
    np.testing.assert_allclose(terms(gpus=gpus).sample(TOKENS), expected)


def test_attention_and_mlp_side_by_side_share_a_norm_and_a_sum():
    kind = replace(model().kinds[0], parallel=True)
    parallel = replace(model(), kinds=(kind,))
    saved = terms(gpus=2).dense(TOKENS) - terms(parallel, gpus=2).dense(TOKENS)
    np.testing.assert_allclose(saved, 2 * (small(4 * HIDDEN) + reduced(2 * HIDDEN * TOKENS, 2)))


def test_two_matrices_without_a_gate_and_norms_of_queries_and_keys():
    kind = replace(model().kinds[0], mlp=Mlp(FFN, gated=False))
    plain = replace(model(), kinds=(kind,))
    saved = terms().dense(TOKENS) - terms(plain).dense(TOKENS)
    up = product(TOKENS, HIDDEN, 2 * FFN) - product(TOKENS, HIDDEN, FFN)
    np.testing.assert_allclose(saved, 2 * (up + small(3 * FFN) - small(2 * FFN)))
    normed = terms(model(qk_norm=True)).dense(TOKENS) - terms().dense(TOKENS)
    np.testing.assert_allclose(normed, 2 * small(2 * 2 * 8 * DIM))


@pytest.mark.parametrize("gpus", [1, 4])
def test_a_norm_across_all_heads_sums_two_variances_a_token_over_the_gpus(gpus):
    across = terms(model(qk_norm=True, norm_across_heads=True), gpus=gpus).dense(TOKENS)
    apart = across - terms(model(qk_norm=True), gpus=gpus).dense(TOKENS)
    squares = small(2 * 8 // gpus * DIM) if gpus > 1 else 0.0
    np.testing.assert_allclose(apart, 2 * (squares + reduced(2 * 4 * TOKENS, gpus)), atol=1e-15)


def test_kinds_of_layers_are_counted_each():
    one = model(layers=1).kinds[0]
    both = replace(model(), kinds=(one, replace(one, count=3, mlp=Mlp(512, gated=True))), order=())
    wide, narrow = (terms(replace(model(), kinds=(each,), order=())) for each in both.kinds)
    once = small(2 * HIDDEN)
    expected = wide.dense(TOKENS) + narrow.dense(TOKENS) - once
    np.testing.assert_allclose(terms(both).dense(TOKENS), expected)
    assert {"decode attention (layer kind 0)", "decode attention (layer kind 1)"} <= set(terms(both).notes)


def test_parts_have_the_tables_of_their_own_type():
    tables = [gemm(lambda n, k, m, s=s: s * 1e-6 + 0 * m, dtype=dtype) for dtype, s in (("bfloat16", 7), ("fp8", 3))]
    fp8 = model(precision=Precision(linear="fp8"))
    made = KernelTerms(fp8, gpu(tables), Parallelism(), LIBRARY)
    both = KernelTerms(model(), gpu(tables), Parallelism(), LIBRARY)
    np.testing.assert_allclose(both.dense(TOKENS) - made.dense(TOKENS), 2 * 2 * 4e-6, rtol=1e-9)
    assert {"linear mlp_up fp8", "linear qkv bfloat16"} <= set(made.notes)


def test_what_stays_in_the_level_2_cache_is_faster():
    profile = gpu(memory={"capacity": "80GB", "bandwidth": "2TB/s", "l2": "50MB"})
    size = np.array([1e6, 30e6, 100e6])
    expected = 1e-6 + np.minimum(size, 30e6) / 5.2e12 + np.maximum(size - 30e6, 0) / 1e12
    np.testing.assert_allclose(small_operator(profile, 1000.0, size / 1000), expected)
    no_cache = small_operator(gpu(), 1000.0, size / 1000)
    np.testing.assert_allclose(no_cache, 1e-6 + size / 1e12)


def test_nothing_waits_for_the_longest_context_and_chunks_add_to_decodes():
    made = terms()
    assert made.adds_up
    assert [made.skew(batch) for batch in (1, 10, 1000)] == [0, 0, 0]
