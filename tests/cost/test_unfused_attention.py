"""Attention without FlashAttention and Flash-Decoding: bytes and occupancy as the formulas say."""

import numpy as np
import pytest

from simulator.core import Request
from simulator.cost.adapters import AdapterSizes, AdapterTerms
from simulator.cost.kernel_terms import KernelTerms
from simulator.cost.parallelism import Parallelism
from simulator.cost.unfused_attention import UnfusedAttention, UnsplitDecodes, score_bytes
from simulator.hardware.registry import load_profile
from simulator.model import load_model

MODEL, H100 = load_model("llama-3.1-8b"), load_profile("h100_sxm")
TERMS = KernelTerms(MODEL, H100, Parallelism(), None)


def test_scores_move_eight_bytes_a_head_query_and_key():
    assert score_bytes(32, 1000, 1000) == 4 * 2 * 32 * 1000 * 1000


def test_unfused_prompts_take_their_scores_traffic_longer():
    unfused, request = UnfusedAttention(TERMS, 32 * 32, 2e12), Request(0, 0, 4000, 1)
    request.computed = 1000
    chunks = [(request, 2000)]
    more = unfused.prompts(chunks, 2000, 0, 0, 0) - TERMS.prompts(chunks, 2000, 0, 0, 0)
    assert more == pytest.approx(8 * 1024 * 2000 * 3000 / 2e12)


def test_unfused_decodes_grow_with_their_context():
    unfused, batch, context = UnfusedAttention(TERMS, 32 * 32, 2e12), np.array([8.0]), np.array([1000.0])
    assert unfused.decode(batch, context) - TERMS.decode(batch, context) == pytest.approx(8 * 1024 * 8 * 1000 / 2e12)


@pytest.mark.parametrize(("batch", "share"), [(1, 8 / 132), (4, 32 / 132), (17, 1.0), (200, 1.0)])
def test_unsplit_decodes_use_the_multiprocessors_that_have_a_block(batch, share):
    unsplit = UnsplitDecodes(TERMS, 8, 132)
    assert float(unsplit.occupancy(np.array(float(batch)))) == pytest.approx(share)
    at, long, short = np.array([float(batch)]), np.array([9000.0]), TERMS.knots[:1]
    least = TERMS.decode(at, short)
    assert unsplit.decode(at, long) - least == pytest.approx((TERMS.decode(at, long) - least) / share)


def test_an_adapter_is_as_large_as_its_two_matrices():
    shapes = [(4096, 6144), (4096, 4096), (4096, 28672), (14336, 4096)]
    sizes = AdapterSizes(MODEL, 16, 1)
    assert sizes.weight_bytes == 2 * 32 * 16 * sum(inputs + outputs for inputs, outputs in shapes)
    assert sizes.products == 2 * 32 * 4


def test_a_batch_has_as_many_adapters_as_draws_differ():
    terms = AdapterTerms(TERMS, AdapterSizes(MODEL, 16, 1), np.array([0.5, 0.5]), H100)
    assert terms.different(np.array([1.0, 2.0, 3.0])).tolist() == [1.0, 1.5, 1.75]
    more = terms.dense(np.array([64.0])) - TERMS.dense(np.array([64.0]))
    assert more > 256 * H100.gemm.launch
