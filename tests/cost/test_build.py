"""From a model, a GPU and an engine to costs: which tables are taken, what is refused, and known models stay sane."""

from itertools import pairwise

import numpy as np
import pytest
from support.batches import Batch, decode_ps, mixed_ps
from support.gpus import decode_attention, engine, gemm, gpu, model, prompt_attention
from support.worlds import measured, roofline

from simulator.core import InputError
from simulator.core.units import PS_PER_S
from simulator.cost.build import build_cost, kernel_library
from simulator.cost.kernel_terms import KernelTerms
from simulator.cost.parallelism import Parallelism
from simulator.hardware.engine_profile import load_engine
from simulator.hardware.registry import known_profiles, load_profile
from simulator.model.registry import load_model

MODEL, H100 = load_model("llama-3.1-8b"), load_profile("h100_sxm")


def cost(known=MODEL, profile=H100, tensor=1, *, by=None, **split):
    by = by or load_engine("vllm")
    build = by.build()
    return build_cost(known, profile, by, build, build.host, Parallelism(tensor, **split))


def terms(known=MODEL, profile=H100, tensor=1):
    return KernelTerms(known, profile, Parallelism(tensor), "vllm-0.24.0")


def test_the_newest_kernels_of_the_engine_are_taken():
    def library(*names):
        return gpu([gemm(lambda n, k, m: 1e-6 * m, library=name) for name in names]).tables

    assert kernel_library(library("vllm-0.9.0", "vllm-0.24.0", "vllm-0.10.1", "trtllm-1.3"), "vllm") == "vllm-0.24.0"
    assert kernel_library(library("trtllm-1.3"), "vllm") is None
    assert kernel_library(library("microbench-2026-11-22", "microbench-2026-12-01"), "vllm") == "microbench-2026-12-01"
    assert kernel_library(library("microbench-2026-11-22", "vllm-0.9.0"), "vllm") == "vllm-0.9.0"
    layers = decode_attention(lambda b, c: 1e-6 * b, library="vllm-0.30.0")
    assert kernel_library(gpu([layers, *library("vllm-0.9.0")]).tables, "vllm") == "vllm-0.9.0"


@pytest.mark.parametrize(("name", "library"), [("vllm", "vllm-0.24.0"), ("trtllm", "trtllm-1.3.0rc20")])
def test_each_engine_runs_its_own_kernels(name, library):
    notes = cost(by=load_engine(name)).coverage()["terms"]
    assert notes["linear mlp_up bfloat16"] == notes["decode attention"] == f"measured ({library})"


def test_layers_measured_whole_come_before_single_kernels_and_these_before_rooflines():
    blackwell = load_profile("rtx_pro_6000")
    assert cost(profile=blackwell).coverage()["terms"]["layers"].startswith("measured (vllm-0.19.0")
    assert "layers" not in cost(load_model("opt-13b"), blackwell).coverage()["terms"]
    bare = cost(load_model("opt-13b"), load_profile("rtx_4090")).coverage()["terms"]
    assert bare["linear mlp_up bfloat16"] == bare["decode attention"] == "roofline"


def test_whole_layers_were_not_measured_with_expert_parallelism():
    blackwell, known = load_profile("rtx_pro_6000"), load_model("qwen3-30b-a3b")
    assert "layers" in cost(known, blackwell, 2).coverage()["terms"]
    assert "layers" not in cost(known, blackwell, 2, expert=2).coverage()["terms"]


@pytest.mark.parametrize(
    ("name", "hardware", "tensor", "message"),
    [
        ("llama-3.1-8b", "h100_sxm", 3, "does not divide the 32 attention heads"),
        ("qwen2.5-7b", "h100_sxm", 8, "does not divide the 28 attention heads"),
        ("llama-3.1-8b", "h100_sxm", 16, "all-reduces .* up to 8 GPUs"),
        ("llama-3.1-8b", "rtx_4090", 2, "no all-reduce of rtx_4090 was measured"),
    ],
)
def test_splits_that_cannot_be(name, hardware, tensor, message):
    with pytest.raises(InputError, match=message):
        cost(load_model(name), load_profile(hardware), tensor)


@pytest.mark.parametrize("hardware", known_profiles())
def test_every_profile_runs_a_model_and_says_what_it_rests_on(hardware):
    made = measured(hardware)
    assert 10**9 < decode_ps(made, [500]) < 10**11
    found = made.coverage()
    assert found["terms"]
    assert all(
        text.split()[0] in ("measured", "roofline", "stated", "none", "latency") for text in found["terms"].values()
    )
    provenance = load_profile(hardware).provenance
    assert {f"hardware {key}": text for key, text in provenance.items()}.items() <= found["provenance"].items()
    assert any(key.startswith("engine vllm") for key in found["provenance"])


@pytest.mark.parametrize("kind", [measured, roofline])
def test_cached_tokens_save_most_of_a_prompt(kind):
    made = kind("h100_sxm", "llama-3.1-8b")
    assert mixed_ps(made, [(7000, 1000)]) < 0.3 * mixed_ps(made, [(0, 8000)])


@pytest.mark.parametrize("hardware", ["a100_sxm", "h100_sxm", "h200_sxm", "l40s"])
def test_a_decode_reads_all_weights(hardware):
    # One token cannot be faster than its weights cross the memory bus, nor is it several times slower.
    profile = load_profile(hardware)
    least = (MODEL.parameters - MODEL.vocab * MODEL.hidden) * 2 / profile.memory.bandwidth  # the embedding is a look-up
    made, one = terms(profile=profile) if hardware != "a100_sxm" else None, np.ones(1)
    if made is None:
        made = KernelTerms(MODEL, profile, Parallelism(), "vllm-0.14.0")
    spent = float((made.dense(one) + made.sample(one) + made.decode(one, 100 * one))[0])
    assert least < spent < 2 * least


def test_a_long_prompt_is_bound_by_compute():
    flops = 2 * (MODEL.parameters - 2 * MODEL.vocab * MODEL.hidden) * 8192
    least = flops / H100.peak["bfloat16"] * PS_PER_S
    assert least < mixed_ps(measured(), [(0, 8192)]) < 2 * least


@pytest.mark.parametrize("kind", [measured, roofline])
def test_decode_slope_is_the_kv_cache_over_its_bandwidth(kind):
    _, growth, _ = Batch([10_000] * 32).run(kind("h100_sxm", "llama-3.1-8b"))
    least = 32 * MODEL.kv_bytes_per_token() / H100.memory.bandwidth * PS_PER_S
    assert 0.9 * least < growth < 1.6 * least


def test_tensor_parallelism_divides_the_work_and_adds_communication():
    tokens, batch, context = np.array([8192.0]), np.full(1, 32.0), np.full(1, 8192.0)
    made = [terms(tensor=tensor) for tensor in (1, 2, 4, 8)]
    for fewer, more in pairwise(float(each.dense(tokens)[0]) for each in made):
        assert fewer / 2 < more < fewer
    for fewer, more in pairwise(float(each.decode(batch, context)[0]) for each in made):
        assert 0.45 * fewer < more < 0.65 * fewer


@pytest.mark.parametrize("hardware", ["h100_sxm", "rtx_4090"])
def test_real_tables_say_more_takes_longer_up_to_their_noise(hardware):
    made = measured(hardware)
    by_context = [decode_ps(made, [context] * 24) for context in range(1, 40_000, 111)]
    assert by_context == sorted(by_context), "a closed form rests on it"
    by_batch = np.array([decode_ps(made, [1000] * batch) for batch in range(1, 400)])
    by_chunk = np.array([mixed_ps(made, [(0, new)]) for new in range(1, 4000, 13)])
    # An H100's products take a twentieth less for 33 to 40 tokens than for 32.
    for times in (by_batch, by_chunk):
        assert (times >= 0.93 * np.maximum.accumulate(times)).all()


def test_a_window_costs_no_more_than_seeing_everything():
    tables = [
        decode_attention(lambda b, c: 5e-6 + 2e-9 * b * c),
        prompt_attention(lambda b, s: 3e-6 + 1e-10 * b * s**2),
    ]
    windowed, full = (cost(model(window=window), gpu(tables), by=engine()) for window in (300, 0))
    for context in (100, 299, 301, 5000):
        assert decode_ps(windowed, [context] * 8) <= decode_ps(full, [context] * 8)
        assert mixed_ps(windowed, [(context, 200)]) <= mixed_ps(full, [(context, 200)])
    assert decode_ps(windowed, [300] * 8) == decode_ps(windowed, [5000] * 8)
