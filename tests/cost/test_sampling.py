"""Sampling by top-p: a sort of every request's logits, on top of the head, and only where its cost is known."""

import numpy as np
import pytest
from support.batches import decode_ps, mixed_ps
from support.gpus import engine, gpu, model

from simulator.core import InputError
from simulator.core.units import PS_PER_S
from simulator.cost.build import build_cost
from simulator.cost.kernel_terms import KernelTerms
from simulator.cost.parallelism import Parallelism
from simulator.cost.sampling import TopPSampling
from simulator.hardware.engine_profile import load_engine
from simulator.hardware.registry import load_profile
from simulator.model.registry import load_model

VOCAB = model().vocab
REQUESTS = np.array([1.0, 8.0, 200.0])


def cost(*, top_p, **build_args):
    by = engine(**build_args)
    build = by.build()
    return build_cost(model(), gpu(), by, build, build.host, Parallelism(), top_p=top_p)


def test_each_request_moves_the_bytes_of_its_logits():
    plain = KernelTerms(model(), gpu(), Parallelism(), None)
    bandwidth = gpu().memory.bandwidth
    drawn = TopPSampling(plain, VOCAB, 500.0, bandwidth)
    np.testing.assert_allclose(drawn.sample(REQUESTS) - plain.sample(REQUESTS), 500.0 * VOCAB * REQUESTS / bandwidth)
    np.testing.assert_allclose(drawn.dense(REQUESTS), plain.dense(REQUESTS))
    assert "500 bytes a logit" in drawn.notes["top-p sampling"]


def test_decodes_and_prompts_pay_once_a_request():
    greedy, drawn = cost(top_p=False, top_p_bytes=500.0), cost(top_p=True, top_p_bytes=500.0)
    each = 500.0 * VOCAB / gpu().memory.bandwidth * PS_PER_S
    assert decode_ps(drawn, [100] * 8) - decode_ps(greedy, [100] * 8) == pytest.approx(8 * each, abs=2)
    prompts = [(0, 64), (0, 32)]
    extra = mixed_ps(drawn, prompts, [100] * 8) - mixed_ps(greedy, prompts, [100] * 8)
    assert extra == pytest.approx(10 * each, abs=2)


def test_an_engine_whose_sampler_was_not_measured_is_refused():
    with pytest.raises(InputError, match="what it takes made_up"):
        cost(top_p=True)
    by = load_engine("trtllm")
    with pytest.raises(InputError, match="trtllm"):
        build_cost(load_model("llama-3.1-8b"), load_profile("h100_sxm"), by, by.build(), by.build().host, Parallelism(),
                   top_p=True)  # fmt: skip


def test_vllm_sorts_before_0_18_and_searches_since():
    vllm = load_engine("vllm")
    before, since = (vllm.build(version).top_p_bytes for version in ("0.12", "0.18"))
    # A PyTorch sort on an H100: 57.6 ms for 2,048 requests of 131,072 logits (vLLM pull request 32234).
    assert before * 2048 * 131072 / 3350e9 == pytest.approx(57.6e-3, rel=0.02)
    assert since < before / 2
