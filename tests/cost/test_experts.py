"""Routed experts: the measured table of their shape and split, else the weights of those expected to be chosen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.gpus import LIBRARY, gpu, grid, model, paper_roofline

from simulator.cost.build import kernel_library
from simulator.cost.experts import ExpertTimes, Untuned
from simulator.cost.kernel_terms import KernelTerms
from simulator.cost.parallelism import Parallelism
from simulator.hardware.registry import load_profile
from simulator.model import Experts
from simulator.model.registry import load_model

MANY = Experts(count=64, top_k=8, ffn=512, gated=True)
FEW = Experts(count=8, top_k=2, ffn=512, gated=True)
TOKENS = np.array([1.0, 8, 100, 4096, 10_000])


def table(each, experts=MANY, *, tp=1, ep=1, distribution="power_law_1.2", dtype="bfloat16"):
    shape = {"hidden": 1024, "inter": experts.ffn, "topk": experts.top_k, "experts": experts.count}
    axes = (("tokens", (1, 8, 100, 4096), "linear"),)
    split = {"tp": tp, "ep": ep, "distribution": distribution}
    return grid("moe", axes, lambda tokens: each * tokens, dtype=dtype, **shape, **split)


def times(grids, tp=1, ep=1):
    return ExpertTimes(gpu(grids), LIBRARY, tp, ep)


def test_the_measured_shape_is_read_off_its_table_and_grows_beyond_it():
    made = times([table(1e-6)])
    np.testing.assert_allclose(made.seconds(1024, MANY, "bfloat16", TOKENS), 1e-6 * TOKENS)
    assert made.note == f"measured ({LIBRARY})"


def test_tokens_choose_unevenly_among_many_experts_and_evenly_among_few():
    both = [table(1e-6 * (1 + 8 * even), kind, distribution=name) for kind in (MANY, FEW)
            for even, name in enumerate(("power_law_1.2", "balanced"))]  # fmt: skip
    np.testing.assert_allclose(times(both).seconds(1024, MANY, "bfloat16", TOKENS), 1e-6 * TOKENS)
    np.testing.assert_allclose(times(both).seconds(1024, FEW, "bfloat16", TOKENS[2:]), 9e-6 * TOKENS[2:])
    other = times([table(5e-6, distribution="balanced")])
    np.testing.assert_allclose(other.seconds(1024, MANY, "bfloat16", TOKENS[2:]), 5e-6 * TOKENS[2:], rtol=1e-4)


def test_few_tokens_read_the_experts_they_choose_at_random():
    # One token in 4 (8 experts, two a token) would reach all, were they spread evenly.
    one = times([table(9e-6, FEW, distribution="balanced")])
    read = 1 - 0.75 ** np.array([1, 2, 8])
    expected = 9e-6 * np.array([4, 4, 8]) * read
    np.testing.assert_allclose(one.seconds(1024, FEW, "bfloat16", np.array([1.0, 2, 8])), expected)
    # Over 4 GPUs all wait for the one with most: of two experts it reads one (unless all are unread), or both.
    split = times([table(9e-6, FEW, ep=4, distribution="balanced")], ep=4)
    some, both = 1 - (0.75**2) ** 4, 1 - (1 - 0.25**2) ** 4
    took = split.seconds(1024, FEW, "bfloat16", np.array([1.0]))
    np.testing.assert_allclose(took, 9e-6 * 4 * (some + both) / 2)


def test_a_split_has_its_own_table():
    grids = [table(4e-6), table(2e-6, tp=4), table(3e-6, ep=4)]
    np.testing.assert_allclose(times(grids, tp=4).seconds(1024, MANY, "bfloat16", TOKENS), 2e-6 * TOKENS)
    np.testing.assert_allclose(times(grids, ep=4).seconds(1024, MANY, "bfloat16", TOKENS), 3e-6 * TOKENS)


def test_experts_without_a_tuned_kernel_take_a_factor_longer():
    grids = [table(4e-6), table(2e-6, tp=4), table(3e-6, ep=4), table(5e-6, dtype="fp8_block")]
    untuned = Untuned(1.5, frozenset({(64, 128), (16, 512)}))

    def found(tp, ep, dtype="bfloat16"):
        made = ExpertTimes(gpu(grids), LIBRARY, tp, ep, untuned)
        return made.seconds(1024, MANY, dtype, TOKENS)[2] / 100, made.note

    assert found(4, 1) == (pytest.approx(2e-6), f"measured ({LIBRARY})"), "64 experts of 128 columns are tuned"
    assert found(1, 4) == (pytest.approx(3e-6), f"measured ({LIBRARY})"), "16 experts of 512 columns are tuned"
    seconds, note = found(1, 1)
    assert seconds == pytest.approx(1.5 * 4e-6)
    assert note.endswith("1.5 times as long: the engine has no tuned kernel for 64 of 512 columns")
    assert found(1, 1, "fp8_block")[0] == pytest.approx(5e-6), "another kernel"


def test_a_share_of_each_expert_takes_no_longer_than_a_larger_share_was_measured_to():
    grids = [table(1e-6), table(5e-6, tp=2), table(4e-7, tp=4)]
    made = times(grids, tp=2)
    np.testing.assert_allclose(made.seconds(1024, MANY, "bfloat16", TOKENS), 1e-6 * TOKENS)
    assert made.note == f"measured ({LIBRARY}); slow ones as a larger share"
    np.testing.assert_allclose(times(grids, tp=4).seconds(1024, MANY, "bfloat16", TOKENS), 4e-7 * TOKENS)


@pytest.mark.parametrize(("hardware", "name", "library"), [("h200_sxm", "llama-4-scout", "trtllm"),
                                                          ("a100_sxm", "qwen3-30b-a3b", "vllm")])  # fmt: skip
def test_measured_experts_get_no_slower_when_they_are_split_further(hardware, name, library):
    known, profile = load_model(name), load_profile(hardware)
    kind = next(kind for kind in known.kinds if isinstance(kind.mlp, Experts))
    measured = kernel_library(profile.tables, library)
    spent = [
        ExpertTimes(profile, measured, split, 1).seconds(known.hidden, kind.mlp, "bfloat16", np.array([16.0, 256]))
        for split in (1, 2, 4, 8)
    ]
    assert (np.diff(spent, axis=0) <= 0).all()


def test_columns_split_further_than_measured_read_as_many_weights_as_whole_experts():
    made = times([table(9e-6), table(3e-6, ep=8)], tp=8)
    np.testing.assert_allclose(made.seconds(1024, MANY, "bfloat16", TOKENS), 3e-6 * TOKENS)
    assert made.note == f"measured ({LIBRARY}), 8 GPUs as expert parallel"


@pytest.mark.parametrize(
    "grids",
    [[], [table(1e-6, dtype="fp8")], [table(1e-6, FEW)], [table(1e-6, tp=2)]],
    ids=["none", "type", "shape", "tp"],
)
def test_what_was_not_measured_has_the_roofline_and_says_so(grids):
    made = times(grids)
    made.seconds(1024, MANY, "bfloat16", TOKENS)
    assert made.note == "roofline over the experts expected to be chosen"


@given(st.integers(1, 5000))
def test_the_roofline_reads_the_experts_expected_to_be_chosen(tokens):
    got = times([]).seconds(1024, MANY, "bfloat16", np.array([float(tokens)]))[0]
    weights, rows = 3 * 1024 * 512, 8 * tokens
    chosen = 64 * (1 - (1 - 8 / 64) ** tokens)  # the chance that none of the tokens goes to an expert
    moved = 2 * chosen * weights + 2 * rows * (2 * 1024 + 2 * 512)
    assert got == pytest.approx(paper_roofline(2 * rows * weights, moved))
    assert chosen == pytest.approx(8) or tokens > 1, "one token reads its own experts alone"


@pytest.mark.parametrize(
    ("dtype", "bytes_each", "read", "gain"),
    [("bfloat16", 2, 2, 1), ("fp8", 1, 1, 2), ("mxfp4", 0.53125, 2, 1), ("nvfp4", 0.5625, 0.5625, 4)],
)
def test_weights_are_read_and_multiplied_in_their_format(dtype, bytes_each, read, gain):
    peak = {"bfloat16": "100TFLOP/s", "fp8": "200TFLOP/s", "nvfp4": "400TFLOP/s"}
    made = ExpertTimes(gpu(peak=peak), LIBRARY, 1, 1)
    weights, numbers = 3 * 1024 * 512, 8 * (1024 + 512)
    moved = 8 * weights * bytes_each + (read + 2) * numbers
    got = made.seconds(1024, MANY, dtype, np.array([1.0]))[0]
    assert got == pytest.approx(paper_roofline(2 * 8 * weights / gain, moved))
    assert made.note == "roofline over the experts expected to be chosen"


def test_a_gpu_without_units_for_the_experts_type_multiplies_in_16_bit():
    made = ExpertTimes(gpu(peak={"bfloat16": "100TFLOP/s", "fp8": "200TFLOP/s"}), LIBRARY, 1, 1)
    weights, numbers = 3 * 1024 * 512, 8 * (1024 + 512)
    got = made.seconds(1024, MANY, "nvfp4", np.array([1.0]))[0]
    assert got == pytest.approx(paper_roofline(2 * 8 * weights, 8 * weights * 0.5625 + 4 * numbers))
    assert made.note.endswith("(nvfp4 weights, 16-bit products)")


def test_experts_take_the_rates_of_products_in_their_type_but_not_the_launch_timed_with_these():
    measured = {"launch": "200us", "compute": "50TFLOP/s", "bandwidth": "2TB/s", "blend": 1}
    made = ExpertTimes(gpu(rooflines={"fp8_block": measured}), LIBRARY, 1, 1)
    got = made.seconds(1024, MANY, "fp8_block", np.array([1.0]))[0]
    weights = 8 * 3 * 1024 * 512
    moved = weights * (1 + 4 / 128**2) + 3 * 8 * (1024 + 512)
    assert got == pytest.approx(1e-6 + 2 * weights / 50e12 + moved / 2e12)


def test_mxfp4_experts_run_the_faster_of_the_kernels_measured_for_them():
    # On a B200 TensorRT-LLM's table has both, and 16-bit activations took three times as long.
    grids = [table(3e-6, dtype="w4a16_mxfp4"), table(1e-6, dtype="w4a8_mxfp4_mxfp8")]
    for order in (grids, grids[::-1]):
        np.testing.assert_allclose(times(order).seconds(1024, MANY, "mxfp4", TOKENS), 1e-6 * TOKENS)
    np.testing.assert_allclose(times(grids[:1]).seconds(1024, MANY, "mxfp4", TOKENS), 3e-6 * TOKENS)


def test_a_token_reads_as_many_weights_a_gpu_however_the_experts_are_cut():
    # On average: whole experts on eight GPUs, or an eighth of each; what goes in and out is cut with the former alone.
    one, weights = np.array([1.0]), 8 * 3 * 1024 * 512 / 8
    whole, cut = (made.seconds(1024, MANY, "bfloat16", one)[0] for made in (times([], ep=8), times([], tp=8)))
    assert whole == pytest.approx(paper_roofline(2 * weights, 2 * weights + 2 * (2 * 1024 + 2 * 512)))
    assert cut == pytest.approx(paper_roofline(2 * weights, 2 * weights + 2 * 8 * (2 * 1024 + 2 * 64)))


def test_a_model_with_experts_notes_what_their_time_rests_on():
    terms = KernelTerms(model(experts=MANY), gpu([table(1e-3)]), Parallelism(), LIBRARY)
    plain = KernelTerms(model(experts=MANY), gpu(), Parallelism(), LIBRARY)
    tokens = np.array([100.0])
    difference = terms.dense(tokens)[0] - plain.dense(tokens)[0]
    assert terms.notes["experts"] == f"measured ({LIBRARY})"
    assert plain.notes["experts"].startswith("roofline")
    spent = times([]).seconds(1024, MANY, "bfloat16", tokens)[0]
    assert difference == pytest.approx(2 * (100 * 1e-3 - spent)), "two layers"


@pytest.mark.parametrize("name", ["mixtral-8x7b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-20b"])
def test_known_models_with_experts_are_measured_on_an_h100(name):
    known, profile = load_model(name), load_profile("h100_sxm")
    kind = next(kind for kind in known.kinds if isinstance(kind.mlp, Experts))
    made = ExpertTimes(profile, "vllm-0.24.0", 1, 1)
    dtype = known.precision_of(kind).experts
    spent = made.seconds(known.hidden, kind.mlp, dtype, np.array([1.0, 64, 8192]))
    assert made.note.startswith("measured")
    weights = known.expert_bytes(kind)
    assert spent[0] < spent[1] < spent[2]
    # With many tokens every expert is read, once, over the memory bus at best.
    assert spent[2] > 0.8 * weights / profile.memory.bandwidth
