"""Multi-head latent attention: DeepSeek-V3's measured module for its shape, rooflines for any other."""

from dataclasses import replace

import numpy as np
import pytest
from support.gpus import LIBRARY, gpu, grid, paper_roofline

from simulator.cost.kernel_terms import KernelTerms
from simulator.cost.latent_attention import LatentTimes
from simulator.cost.linear import LinearTimes
from simulator.cost.parallelism import Parallelism
from simulator.cost.prefill_curve import pairs_of
from simulator.hardware.registry import load_profile
from simulator.model import LatentAttention, Linear
from simulator.model.registry import load_model

V3 = LatentAttention(heads=128, q_lora_rank=1536, kv_lora_rank=512, nope_dim=128, rope_dim=64, value_dim=128)
V2_LITE = replace(V3, heads=16, q_lora_rank=0)
HEADS = (1, 16, 64, 128)


def module(operator, seconds, lengths, name):
    axes = (("heads", HEADS, "log"), ("batch", (1, 4, 64), "log"), (name, lengths, "log"))
    return grid(operator, axes, seconds, kv_dtype="bfloat16", dtype="bfloat16")


DECODE = module("mla_decode", lambda h, b, c: 1e-9 * h * b * c, (1, 100, 1000), "context")
PROMPT = module("mla_prefill", lambda h, b, s: 1e-10 * h * b * s * s, (16, 256, 1024), "new")
PROJECTIONS = (Linear("latent_down", 1024, 576), Linear("attention_output", 2048, 1024))


def times(shape, grids=(DECODE, PROMPT), split=1):
    profile = gpu(grids)
    linears = LinearTimes(profile, LIBRARY)
    return LatentTimes(profile, LIBRARY, linears, PROJECTIONS, shape, split, "bfloat16", 2.0)


def decode(made, batch, context):
    return float(made.decode(np.array(float(batch)), np.array(float(context))))


def projected(tokens):
    products = (
        paper_roofline(2 * tokens * p.weights, 2 * (tokens * (p.inputs + p.outputs) + p.weights)) for p in PROJECTIONS
    )
    return sum(products)


@pytest.mark.parametrize("split", [1, 2, 8])
def test_the_measured_module_is_that_of_the_heads_on_this_gpu(split):
    made = times(V3, split=split)
    assert decode(made, 4, 1000) == pytest.approx(1e-9 * 128 / split * 4 * 1000)
    assert made.prompts(4 * 256, 4 * pairs_of(256, 0, 0), 4 * 256) == pytest.approx(1e-10 * 128 / split * 4 * 256**2)
    assert made.notes == dict.fromkeys(("decode", "prompt"), f"measured module ({LIBRARY})")


def test_beyond_the_module_time_grows_with_the_work():
    made = times(V3)
    assert decode(made, 128, 5000) == pytest.approx(decode(made, 64, 1000) * 2 * 5)
    assert (made.batches, made.contexts) == (64, 1000)


@pytest.mark.parametrize("case", ["another shape", "no table", "another type"])
def test_what_was_not_measured_reads_one_latent_a_token_for_all_heads(case):
    other = [replace(table, attributes={"kv_dtype": "fp8", "dtype": "bfloat16"}) for table in (DECODE, PROMPT)]
    shape, grids = {"another shape": (V2_LITE, (DECODE, PROMPT)), "no table": (V3, ()), "another type": (V3, other)}[
        case
    ]
    made = times(shape, grids)
    assert made.notes == {"decode": "roofline", "prompt": "roofline"}
    read = 4 * 1000
    flops = 2 * shape.heads * (512 + 64 + 512) * read  # scores over latent and rope, then values out of the latent
    kernel = paper_roofline(flops, 2 * (512 + 64) * read)
    assert decode(made, 4, 1000) == pytest.approx(kernel + projected(4))


def test_prompts_by_roofline_unfold_keys_and_values():
    made = times(V2_LITE)
    new, cached = 100, 400
    pairs, each = pairs_of(new, cached, 0), 128 + 64 + 128
    kernel = paper_roofline(2 * 16 * each * pairs, 2 * 16 * each * (new + cached + new))
    assert made.prompts(new, pairs, cached + new) == pytest.approx(kernel + projected(new))


@pytest.mark.parametrize(
    ("name", "note"), [("deepseek-v3", "measured module (vllm-0.24.0)"), ("deepseek-v2-lite", "roofline")]
)
def test_deepseek_on_an_h200(name, note):
    known, tensor = load_model(name), 8 if name == "deepseek-v3" else 1
    terms = KernelTerms(known, load_profile("h200_sxm"), Parallelism(tensor, expert=tensor), "vllm-0.24.0")
    notes = [text for term, text in terms.notes.items() if "attention" in term and "linear" not in term]
    assert set(notes) == {note}
    batch, contexts = np.full(3, 32.0), np.array([100.0, 2000.0, 16_000.0])
    spent = terms.decode(batch, contexts)
    # The latent cache crosses the memory bus once, whatever the number of heads.
    read = 32 * 16_000 * known.kv_bytes_per_token(tensor) / load_profile("h200_sxm").memory.bandwidth
    assert (np.diff(spent) > 0).all()
    assert read < spent[2] < 20 * read
