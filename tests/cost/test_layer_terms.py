"""Models whose layers were measured whole: parts summed, attention looked up over all four axes, skew as measured."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import chunks, decode_ps, mixed_ps
from support.gpus import gpu, grid, host, model
from support.worlds import measured

from simulator.cost.iteration import IterationCost
from simulator.cost.layer_terms import LayerTerms, measured_layers
from simulator.cost.parallelism import Parallelism
from simulator.cost.terms import Seen
from simulator.hardware.registry import load_profile
from simulator.model import Experts
from simulator.model.registry import load_model

NAME, LIBRARY = "somebody/model", "vllm-0.19.0"
AXES = (
    ("new", (0, 64, 512, 2048), "linear"),
    ("past", (0, 512, 4096), "linear"),
    ("decodes", (0, 1, 16, 256), "linear"),
    ("context", (0, 100, 1000, 16_000), "linear"),
)


def together(new, past, decodes, context):
    """Seconds of attention in a layer; a chunk and decodes take more than the sum of both, as on consumer GPUs."""
    decoding = 1e-9 * decodes * context
    return 5e-6 + 1e-9 * new * past + 1e-7 * new + decoding * (1 + (new > 0))


def part(name, each, operator="layer", axis="tokens", tp=1):
    return grid(
        operator, ((axis, (1, 64, 2048), "linear"),), lambda n: each * n, library=LIBRARY, model=NAME, tp=tp, part=name
    )


GRIDS = [
    part("qkv_proj", 1e-7),
    part("layernorm", 2e-9),
    part("embedding", 5e-8),
    part("final_layernorm", 3e-9),
    part("lm_head", 4e-7, "layer_sequence", "sequences"),
    part("sampler", 1e-7, "layer_sequence", "sequences"),
    grid("layer_attention", AXES, together, library=LIBRARY, model=NAME, tp=1),
]


def terms(grids=GRIDS, shape=None, **sections):
    return LayerTerms(shape or model(), gpu(grids, **sections), Parallelism(), LIBRARY, NAME)


def prompts(made, pieces, requests=0, context=0.0, longest=0.0):
    return made.prompts(chunks(pieces), sum(new for _, new in pieces), requests, context, longest)


@given(st.integers(1, 6000))
def test_parts_are_summed_as_often_as_they_run(tokens):
    # Two layers, two norms in each; embedding and last norm once. Beyond 2,048 tokens in proportion.
    expected = tokens * (2 * 1e-7 + 2 * 2 * 2e-9 + 5e-8 + 3e-9)
    assert terms().dense(np.array([float(tokens)])) == pytest.approx([expected])
    assert terms().sample(np.array([float(tokens)])) == pytest.approx([tokens * 5e-7])


def test_decode_is_the_column_without_a_chunk_and_grows_beyond_it():
    made = terms()
    assert float(made.decode(np.array(16.0), np.array(1000.0))) == pytest.approx(2 * together(0, 0, 16, 1000))
    edge = 2 * together(0, 0, 256, 16_000)
    assert float(made.decode(np.array(512.0), np.array(32_000.0))) == pytest.approx(4 * edge)
    assert made.knots.tolist() == [100, 1000, 16_000]


def test_a_chunk_and_decodes_are_looked_up_together():
    made = terms()
    assert not made.adds_up
    assert prompts(made, [(512, 512)], 16, 1000.0, 1000.0) == pytest.approx(2 * together(512, 512, 16, 1000))


def test_several_chunks_are_one_with_as_many_pairs_of_tokens():
    made = terms()
    # 300 tokens after 700 and 100 after 1,200: 300 * 850 + 100 * 1250 pairs, those of 400 after 750.
    assert prompts(made, [(700, 300), (1200, 100)]) == pytest.approx(prompts(made, [(750, 400)]))
    assert prompts(made, [(0, 256), (0, 256)]) == pytest.approx(2 * together(512, 0, 0, 0)), "never before the start"


def test_a_chunk_longer_than_measured_is_several_one_after_the_other():
    made = terms()
    pieces = [prompts(made, [(at, 2048)]) for at in (0, 2048)]
    assert prompts(made, [(0, 4096)]) == pytest.approx(sum(pieces))
    with_decodes = prompts(made, [(0, 4096)], 16, 1000.0, 1000.0)
    assert with_decodes == pytest.approx(sum(pieces) + 2 * 2 * 1e-9 * 16 * 1000), "the decodes run once"


@pytest.mark.parametrize(("requests", "context"), [(512, 1000.0), (256, 40_000.0), (600, 30_000.0)])
def test_decodes_beyond_the_table_grow_in_a_mixed_iteration_as_they_do_alone(requests, context):
    made = terms()
    alone = float(made.decode(np.array(float(requests)), np.array(context)))
    edge = float(made.decode(np.array(256.0), np.array(min(context, 16_000.0))))
    mixed = prompts(made, [(0, 64)], requests, context, context)
    assert mixed == pytest.approx(prompts(made, [(0, 64)], 256, min(context, 16_000.0)) + alone - edge)


def test_experts_read_those_expected_to_be_chosen_and_holes_do_not_spread():
    mlp = Experts(count=64, top_k=8, ffn=512, gated=True)
    axes = (("tokens", (1, 4, 16, 2048), "linear"), ("experts", (8, 32, 64), "linear"))

    def reading(tokens, chosen):
        # One token cannot choose 32 experts: nobody measured that.
        return np.where(chosen > 8 * tokens, np.nan, 1e-6 * chosen)

    table = grid("layer_moe", axes, reading, library=LIBRARY, model=NAME, tp=1)
    tokens = np.array([1.0, 2, 3, 4, 7, 16, 100])
    chosen = 64 * (1 - (1 - 8 / 64) ** tokens)
    spent = terms([*GRIDS, table], model(experts=mlp)).dense(tokens) - terms().dense(tokens)
    np.testing.assert_allclose(spent, 2 * 1e-6 * chosen)


SHARES = [
    {"x": x, "mean": mean, "median": 9, "low": 9, "high": 9, "cells": 9}
    for x, mean in ((0.5, -0.1), (1, 0.3), (4, 0.1))
]


def test_the_share_that_waits_for_the_longest_is_read_off_by_load_of_the_gpu():
    made = terms(skew_alpha=SHARES)  # 8 KV heads on 100 multiprocessors: x is requests * 8 / 200
    assert [made.skew(batch) for batch in (1, 25, 100, 10_000)] == pytest.approx([0, 0.3, 0.1, 0.1])
    assert terms().skew(25) == 0, "a profile without shares has none"
    even = prompts(made, [(0, 64)], 25, 200.0, 200.0)
    longest = prompts(made, [(0, 64)], 25, 1000.0, 1000.0)
    assert prompts(made, [(0, 64)], 25, 200.0, 1000.0) == pytest.approx(even + 0.3 * (longest - even))


def test_what_lies_beyond_the_profile_is_named():
    made = terms()
    assert made.beyond(Seen(2048, 256, 16_000)) == []
    assert made.beyond(Seen(4096, 300, 20_000)) == [
        "attention: batches to 300, measured to 256",
        "attention: contexts to 20000, measured to 16000",
        "layers: 4096 tokens, measured to 2048",
    ]


def test_a_prompt_with_nothing_cached_takes_longer_the_longer_it_is():
    cost = IterationCost(terms(), host(), 0, {})
    times = [mixed_ps(cost, [(0, new)]) for new in (1, 10, 100, 1000, 5000, 20_000)]
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    ("hardware", "name", "tensor"),
    [("rtx_4090", "llama-3.1-8b", 1), ("rtx_pro_6000", "qwen3-32b", 2), ("rtx_pro_6000", "qwen3-30b-a3b", 1)],
)
def test_shipped_layer_profiles_are_found_and_have_no_holes(hardware, name, tensor):
    known, profile = load_model(name), load_profile(hardware)
    found = measured_layers(profile.tables, known, tensor)
    assert found is not None
    made = LayerTerms(known, profile, Parallelism(tensor), *found)
    tokens = np.arange(1.0, 4096)
    assert (made.dense(tokens) > 0).all()
    assert (made.sample(tokens) > 0).all()
    assert (np.diff(made.decode(np.full(50, 9.0), np.linspace(1, 30_000, 50))) > 0).mean() > 0.9
    assert measured_layers(profile.tables, known, 8) is None
    assert measured_layers(profile.tables, load_model("opt-13b"), tensor) is None


@pytest.mark.parametrize("contexts", [[2000] * 256, [2000] * 700, [30_000] * 4])
def test_a_chunk_beside_decodes_never_makes_an_rtx_4090_faster(contexts):
    cost = measured("rtx_4090", "llama-3.1-8b")
    assert mixed_ps(cost, [(0, 1)], contexts) > decode_ps(cost, contexts)


def test_experts_that_were_not_measured_with_the_layers_take_the_time_of_single_kernels():
    mlp = Experts(count=64, top_k=8, ffn=512, gated=True)
    shape = {"hidden": 1024, "inter": 512, "topk": 8, "experts": 64, "distribution": "power_law_1.2"}
    axes = (("tokens", (1, 64, 2048), "linear"),)
    kernels = grid("moe", axes, lambda n: 1e-6 * n, library="vllm-0.24.0", dtype="bfloat16", tp=1, ep=1, **shape)
    known, tokens = model(experts=mlp), np.array([1.0, 64, 1000])
    made = LayerTerms(known, gpu([*GRIDS, kernels]), Parallelism(), LIBRARY, NAME, "vllm-0.24.0")
    bare = LayerTerms(model(), gpu(GRIDS), Parallelism(), LIBRARY, NAME)
    np.testing.assert_allclose(made.dense(tokens) - bare.dense(tokens), 2 * 1e-6 * tokens)
    assert made.notes["experts"] == "measured (vllm-0.24.0)"


def test_a_model_with_experts_reads_them_however_it_is_split():
    profile, known = load_profile("rtx_pro_6000"), load_model("qwen3-30b-a3b-2507")
    found = measured_layers(profile.tables, known, 2)
    assert found is not None
    many = np.array([256.0])
    made = LayerTerms(known, profile, Parallelism(tensor=2), *found, "vllm-0.24.0").dense(many)
    # 256 tokens choose nearly all of the 128 experts in every layer.
    experts = sum(known.expert_bytes(kind) * kind.count for kind in known.kinds) / 2
    assert made[0] > 0.8 * experts / profile.memory.bandwidth
