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
from simulator.cost.sampling import DrawnTokens
from simulator.hardware.engine_profile import TopP, load_engine
from simulator.hardware.registry import load_profile
from simulator.model.registry import load_model

VOCAB = model().vocab
BYTE_S = VOCAB / gpu().memory.bandwidth
PLAIN = KernelTerms(model(), gpu(), Parallelism(), None)


def added(requests, **top_p):
    """What sorting takes beside the head, in seconds."""
    sorted_ = DrawnTokens(PLAIN, VOCAB, gpu(), 0.0, TopP.model_validate(top_p))
    return sorted_.sample(np.array(requests, float)) - PLAIN.sample(np.array(requests, float))


def cost(sampling, **build_args):
    by = engine(**build_args)
    build = by.build()
    return build_cost(model(), gpu(), by, build, build.host, Parallelism(), sampling=sampling)


def test_each_request_moves_the_bytes_of_its_logits():
    np.testing.assert_allclose(added([1, 8, 200], logit_bytes=500), 500 * BYTE_S * np.array([1, 8, 200]))
    drawn = DrawnTokens(PLAIN, VOCAB, gpu(), 50, TopP(logit_bytes=500))
    np.testing.assert_allclose(drawn.dense(np.array([8.0])), PLAIN.dense(np.array([8.0])))
    assert drawn.notes["drawing tokens"] == "50 bytes a logit and 500 to sort it, at the memory's bandwidth"


def test_launches_are_paid_once_an_iteration_that_samples():
    np.testing.assert_allclose(added([0, 1, 8], launches="80us", logit_bytes=0), [0, 80e-6, 80e-6])


def test_many_requests_are_sorted_side_by_side():
    # 100 multiprocessors of 1.5 blocks each: 128 to 150 requests take as long as 150.
    sort = {"logit_bytes": 600, "many": 128, "many_logit_bytes": 400, "blocks_per_sm": 1.5}
    np.testing.assert_allclose(added([127], **sort), 127 * 600 * BYTE_S)
    np.testing.assert_allclose(added([128, 150], **sort), 150 * 400 * BYTE_S)
    np.testing.assert_allclose(added([600], **sort), 600 * 400 * BYTE_S)


def test_decodes_and_prompts_pay_once_a_request():
    known = {"draw_bytes": 50, "top_p": {"logit_bytes": 500}}
    greedy, random, cut = (cost(sampling, **known) for sampling in ("greedy", "random", "top_p"))
    prompts = [(0, 64), (0, 32)]
    for drawn, size in ((random, 50), (cut, 550)):
        each = size * BYTE_S * PS_PER_S
        assert decode_ps(drawn, [100] * 8) - decode_ps(greedy, [100] * 8) == pytest.approx(8 * each, abs=2)
        extra = mixed_ps(drawn, prompts, [100] * 8) - mixed_ps(greedy, prompts, [100] * 8)
        assert extra == pytest.approx(10 * each, abs=2)


def test_an_engine_whose_sampler_was_not_measured_is_refused():
    for sampling, known in (("random", {}), ("top_p", {"draw_bytes": 50})):
        with pytest.raises(InputError, match=f"sampling '{sampling}': what it takes made_up"):
            cost(sampling, **known)
    by = load_engine("trtllm")
    with pytest.raises(InputError, match="trtllm"):
        build_cost(load_model("llama-3.1-8b"), load_profile("h100_sxm"), by, by.build(), by.build().host, Parallelism(),
                   sampling="top_p")  # fmt: skip


# What vLLM's own benchmark took with PyTorch's sort, in ms (its pull requests 32558 and 33538; the GPU, not named, is
# taken for the H100 of 25824 and 42191): the cut at a probability alone, without the draw.
@pytest.mark.parametrize(
    ("requests", "vocab", "measured"),
    [(56, 32768, 0.39), (48, 131072, 1.22), (256, 131072, 4.26), (512, 131072, 8.79), (1024, 131072, 16.3),
     (512, 32768, 2.25), (1024, 32768, 4.24)],
)  # fmt: skip
def test_vllm_sorts_as_long_as_was_measured(requests, vocab, measured):
    profile, top_p = load_profile("h100_sxm"), load_engine("vllm").build("0.12").top_p
    sorted_ = DrawnTokens(PLAIN, vocab, profile, 0.0, top_p)
    took = (sorted_.sample(np.array([requests])) - PLAIN.sample(np.array([requests])))[0]
    assert took * 1e3 == pytest.approx(measured, rel=0.12)


def test_vllm_sorts_before_0_18_and_searches_since():
    vllm = load_engine("vllm")
    before, since = (vllm.build(version).top_p for version in ("0.12", "0.18"))
    assert since.many is None
    assert since.logit_bytes < before.many_logit_bytes
