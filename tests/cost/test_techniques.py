"""Kernels of techniques: closed forms at the ends of the roofline, and the terms' own contract."""

import numpy as np
import pytest
from support.worlds import measured

from simulator.cost.build import build_cost, kernel_library
from simulator.cost.changed_linears import AddedLinears, ChangedLinears, Factors, dense_linears, factors
from simulator.cost.kernel_terms import KernelTerms
from simulator.cost.linear import LinearTimes
from simulator.cost.linear_attention import LinearAttention, state_numbers
from simulator.cost.parallelism import Parallelism
from simulator.cost.sparse_linears import SparseTimes, sparse_bytes
from simulator.cost.sparse_reads import SparseReads
from simulator.cost.tabulated import Alike
from simulator.experiment.techniques.mixture_of_experts import MixtureOfExperts
from simulator.hardware.engine_profile import load_engine
from simulator.hardware.registry import load_profile
from simulator.model import Linear, load_model

MODEL, GPU, ENGINE = load_model("llama-3.1-8b"), load_profile("h100_sxm"), load_engine("vllm")
LIBRARY = kernel_library(GPU.tables, ENGINE.kernels)
TERMS = KernelTerms(MODEL, GPU, Parallelism(), LIBRARY)
BARE = LinearTimes(GPU, None)  # rooflines alone


def array(*values):
    return np.array(values, np.float64)


@pytest.mark.parametrize(("dtype", "share"), [("bfloat16", 9 / 16), ("fp8", 5 / 8), ("int8", 5 / 8)])
def test_2_of_4_sparse_weights_take_half_and_a_bit_each(dtype, share):
    linear = Linear("any", 4096, 4096, dtype)
    assert sparse_bytes(linear) == share * linear.weight_bytes


def test_a_sparse_product_gains_by_bytes_and_by_flops():
    # Where launch is no longer seen: one token of a huge matrix, and a huge number of tokens.
    linear = Linear("any", 2**17, 2**17)
    times = SparseTimes(BARE, GPU, linear, 1.5)
    few, many = times.seconds(array(1, 2**22)) / BARE.seconds(linear, array(1, 2**22))
    assert few == pytest.approx(9 / 16, rel=0.01)
    assert many == pytest.approx(1 / 1.5, rel=0.01)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8])
def test_factors_have_r_times_m_plus_n_weights(kept):
    linear = Linear("any", 4096, 14336)
    rank = int(kept * 4096 * 14336 / (4096 + 14336))
    both = factors(linear, kept)
    assert sum(each.weights for each in both) == rank * (4096 + 14336)
    assert sum(each.weights for each in both) == pytest.approx(kept * linear.weights, rel=1e-3)


def test_products_that_change_nothing_change_nothing():
    same = ChangedLinears(TERMS, "", MODEL, GPU, ENGINE, 1, lambda times, linear: Factors(times, [linear]))
    tokens = array(1, 7, 64, 1000, 8192)
    assert np.array_equal(same.dense(tokens), TERMS.dense(tokens))
    assert np.array_equal(same.dense_with_prompts(tokens), TERMS.dense_with_prompts(tokens))


def test_all_products_of_the_layers_are_changed():
    twice = ChangedLinears(TERMS, "", MODEL, GPU, ENGINE, 1, lambda times, linear: Factors(times, [linear] * 2))
    tokens, times = array(1, 512), LinearTimes(GPU, LIBRARY)
    layers = sum(count * times.seconds(linear, tokens) for count, linear in dense_linears(MODEL, 1))
    assert twice.dense(tokens) - TERMS.dense(tokens) == pytest.approx(layers)
    assert (layers < TERMS.dense(tokens)).all()


def test_added_products_add_their_time():
    linear = Linear("more", 2048, 256)
    more = AddedLinears(TERMS, "more", GPU, ENGINE, [(32, linear)])
    tokens = array(1, 512)
    assert more.dense(tokens) - TERMS.dense(tokens) == pytest.approx(
        32 * LinearTimes(GPU, LIBRARY).seconds(linear, tokens)
    )


def test_sparse_reads_read_budget_and_page_keys():
    sparse = SparseReads(TERMS, 1.0, 1024, 16)
    assert sparse.read(array(100, 1024, 16 * 1024)).tolist() == [100, 1024, 1024 + 1024]
    assert sparse.decode(array(8), array(16 * 1024)) == TERMS.decode(array(8), array(2048))
    half = SparseReads(TERMS, 0.5, 1024, 16)
    both = (TERMS.decode(array(8), array(16 * 1024)) + TERMS.decode(array(8), array(2048))) / 2
    assert half.decode(array(8), array(16 * 1024)) == pytest.approx(both)


@pytest.mark.parametrize("page", [2, 16, 128])
def test_sparse_reads_are_straight_between_their_knots(page):
    sparse = SparseReads(TERMS, 0.9, 1000, page)
    knots = sparse.knots[sparse.knots <= 131072]
    low, high = knots[:-1], knots[1:]
    middle = (low + high) / 2
    wide = high - low > 2  # between neighbours there is no whole number of tokens
    at = [sparse.decode(array(16), each)[wide] for each in (low, middle, high)]
    assert at[1] == pytest.approx((at[0] + at[2]) / 2, rel=1e-9)


def test_linear_attention_does_not_grow_with_context():
    linear = LinearAttention(TERMS, MODEL, GPU, 1, MODEL.layers)
    assert linear.decode(array(8, 8), array(100, 100_000)).tolist()[0] == linear.decode(array(8), array(100_000))[0]
    assert state_numbers(MODEL.kinds[0].attention, 1) == 8 * 128 * 128
    # A state is read and written: at large batches that is what a decode takes.
    many = 2**20
    state = 2 * 2 * 8 * 128 * 128 + 2 * (2 * 32 + 2 * 8) * 128
    slope = GPU.decode_attention
    took = float(linear.decode(array(many), array(1.0))[0]) / MODEL.layers
    assert took == pytest.approx(float(slope.table(array(4 * 32 * 128 * 128 * many), array(state * many))[0]))


def test_a_ridge_is_where_flops_take_as_long_as_bytes():
    roofline = GPU.gemm.model_copy(update={"blend": 64.0, "launch": 0.0})
    ridge = roofline.compute / roofline.bandwidth  # FLOPs a byte
    flops = 1e15
    on, below, above = roofline.table(np.full(3, flops), flops / array(ridge, ridge / 2, 2 * ridge))
    assert above == pytest.approx(flops / roofline.compute, rel=1e-6)
    assert below == pytest.approx(2 * above, rel=1e-6)
    assert on == pytest.approx(above * 2 ** (1 / 64))


def decode_ps(quantization, batch):
    build = ENGINE.build()
    cost = build_cost(MODEL.with_precision(quantization), GPU, ENGINE, build, build.host, Parallelism())
    return cost.decode_run(batch, batch, Alike(1))[0]


def test_w4a16_helps_small_batches_and_no_large_ones():
    gains = [decode_ps(None, batch) / decode_ps("w4a16", batch) for batch in (1, 64, 256, 8192)]
    assert gains[0] > 2
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] == pytest.approx(1, abs=0.1)


def test_mixtures_read_all_experts_at_large_batches():
    dense = measured()
    build = ENGINE.build()
    routed = build_cost(
        MixtureOfExperts(experts=8, top_k=2).model(MODEL), GPU, ENGINE, build, build.host, Parallelism()
    )
    gains = [
        dense.decode_run(batch, batch, Alike(1))[0] / routed.decode_run(batch, batch, Alike(1))[0] for batch in (1, 32)
    ]
    assert gains[0] > 1.2 > 1.1 > gains[1]
