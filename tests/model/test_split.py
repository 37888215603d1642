"""Matrix products, bytes and splits: what one of several GPUs holds."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.core import InputError
from simulator.model import (
    WEIGHT_BYTES,
    Attention,
    Experts,
    LatentAttention,
    LayerKind,
    Linear,
    Mlp,
    Precision,
    Stage,
    Transformer,
    known_models,
    load_model,
)  # fmt: skip
from tests.model.configs import DEEPSEEK, MIXTRAL, model

GPUS = 4
SIZES = st.integers(1, 6).map(lambda size: 8 * size)
ATTENTION = st.builds(
    lambda groups, kv_heads, width, value: Attention(groups * kv_heads, kv_heads, width, value),
    st.integers(1, 3), st.just(GPUS) | st.just(2 * GPUS), SIZES, SIZES,
)  # fmt: skip
LATENT = st.builds(LatentAttention, st.just(2 * GPUS), st.just(0) | SIZES, SIZES, SIZES, SIZES, SIZES)
MLP = st.builds(Mlp, SIZES, st.booleans())
EXPERTS = st.builds(Experts, st.just(8), st.integers(1, 8), SIZES, st.booleans(), st.just(0) | SIZES)


@st.composite
def models(draw, attention=ATTENTION | LATENT, precision=None):
    kinds = draw(st.lists(st.builds(LayerKind, st.integers(1, 5), attention, MLP | EXPERTS), min_size=1, max_size=3))
    hidden, vocab, tied = draw(SIZES), draw(SIZES), draw(st.booleans())
    return Transformer("any", hidden, vocab, tied, 512, tuple(kinds), precision or Precision())


def expert_weights(shape, kind):
    return kind.mlp.count * (3 if kind.mlp.gated else 2) * shape.hidden * kind.mlp.ffn


@given(models())
def test_products_embeddings_and_experts_are_all_parameters(shape):
    total = shape.vocab * shape.hidden * (1 if shape.tied else 2)
    for kind in shape.kinds:
        routed = expert_weights(shape, kind) if isinstance(kind.mlp, Experts) else 0
        total += kind.count * (sum(linear.inputs * linear.outputs for linear in shape.linears(kind)) + routed)
    assert shape.parameters == total
    assert shape.weight_bytes() == 2 * total


@given(models(), st.sampled_from([2, GPUS]))
def test_gpus_share_the_weights(shape, tp):
    shape.check_split(tp)
    for kind in shape.kinds:
        for whole, part in zip(shape.linears(kind), shape.linears(kind, tp), strict=True):
            # The router and MLA's down-projection are whole on every GPU.
            copies = tp if whole.name in ("router", "latent_down") else 1
            assert part.weights * tp == whole.weights * copies, whole.name


@given(models(), st.sampled_from([1, 2, GPUS]), st.sampled_from([1, 2, 4, 8]))
def test_gpus_share_the_experts(shape, tp, ep):
    for kind in shape.kinds:
        whole = shape.expert_bytes(kind)
        assert shape.expert_bytes(kind, tp, ep) * max(tp, ep) == pytest.approx(whole)
        assert (whole == 0) == isinstance(kind.mlp, Mlp)


@given(models(), st.integers(1, 5))
def test_pipeline_stages_have_all_layers_once(shape, stages):
    if stages > shape.layers:
        with pytest.raises(InputError, match="is more than the"):
            shape.check_split(1, 1, stages)
        return
    parts = shape.stages(stages)
    assert tuple(map(sum, zip(*(part.layers for part in parts), strict=True))) == tuple(
        kind.count for kind in shape.kinds
    )
    assert [part.embedding for part in parts] == [True] + [False] * (stages - 1)
    assert [part.head for part in parts] == [False] * (stages - 1) + [True]
    sizes = [sum(part.layers) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert shape.weight_bytes(pipeline_parallel=stages) <= shape.weight_bytes()


def test_the_fullest_stage_counts():
    # 61 layers on 4 GPUs as vLLM's get_pp_indices has them: what is left over goes to the last but one.
    deepseek = load_model("deepseek-v3")
    stages = deepseek.stages(4)
    assert [stage.layers for stage in stages] == [(3, 12), (0, 15), (0, 16), (0, 15)]
    assert stages[0] == Stage((3, 12), embedding=True, head=False)
    sparse = deepseek.kinds[1]
    layer = sum(linear.weight_bytes for linear in deepseek.linears(sparse)) + deepseek.expert_bytes(sparse)
    assert deepseek.weight_bytes(pipeline_parallel=4) == pytest.approx(16 * layer)
    assert [sum(stage.layers) for stage in load_model("minimax-m2.5").stages(4)] == [15, 16, 16, 15]


def test_a_tied_head_is_a_second_copy_on_another_stage():
    tied = model(tie_word_embeddings=True)
    layer = sum(linear.weight_bytes for linear in tied.linears(tied.kinds[0]))
    assert tied.weight_bytes() == 2 * layer + 2 * 64 * 1000
    assert tied.weight_bytes(pipeline_parallel=2) == layer + 2 * 64 * 1000


@given(models(), st.sampled_from(list(WEIGHT_BYTES)))
def test_a_quantized_model_is_as_much_smaller_as_its_format(shape, dtype):
    parts = ("linear", "experts", "attention", "attention_output", "shared")
    small = replace(shape, precision=Precision(**dict.fromkeys(parts, dtype)))
    kept = shape.vocab * shape.hidden * (1 if shape.tied else 2)
    kept += sum(kind.count * shape.hidden * kind.mlp.count for kind in shape.kinds if isinstance(kind.mlp, Experts))
    expected = 2 * kept + WEIGHT_BYTES[dtype] * (shape.parameters - kept)
    assert small.weight_bytes() == pytest.approx(expected)


def test_latent_attentions_products():
    names = {linear.name: linear[1:3] for linear in model(**DEEPSEEK).linears(model(**DEEPSEEK).kinds[0], 2)}
    assert names == {
        "latent_down": (64, 48 + 16 + 4),
        "query_up": (48, 4 * (8 + 4)),
        "latent_up": (16, 4 * (8 + 8)),
        "attention_output": (4 * 8, 64),
        "mlp_up": (64, 2 * 64),
        "mlp_down": (64, 64),
    }


def test_a_layer_with_experts_has_a_router_and_a_shared_expert():
    shape = model(**DEEPSEEK)
    assert shape.linears(shape.kinds[1], 2)[-3:] == (
        Linear("router", 64, 4), Linear("shared_up", 64, 32), Linear("shared_down", 16, 64),
    )  # fmt: skip
    assert [linear.name for linear in model(**MIXTRAL).linears(model(**MIXTRAL).kinds[0])] == [
        "qkv", "attention_output", "router",
    ]  # fmt: skip


@pytest.mark.parametrize(("tp", "share"), [(1, 4), (2, 2), (4, 1), (7, 1), (28, 1)])
def test_few_kv_heads_are_replicated(tp, share):
    qwen = load_model("qwen2.5-7b")
    assert qwen.kinds[0].attention.kv_heads_each(tp) == share
    assert qwen.kv_bytes_per_token(tp) == 2 * 28 * share * 128 * 2
    assert qwen.linears(qwen.kinds[0], tp)[0].outputs == (28 // tp + 2 * share) * 128


def test_every_gpu_keeps_the_whole_latent():
    deepseek = load_model("deepseek-v3")
    assert deepseek.kv_bytes_per_token(8) == deepseek.kv_bytes_per_token(1) == 61 * 576 * 2


@given(st.sampled_from(known_models()), st.integers(0, 200_000))
@settings(max_examples=50)
def test_a_window_bounds_what_a_layer_keeps(name, tokens):
    shape = load_model(name)
    full, kept = tokens * shape.kv_bytes_per_token(), shape.kv_bytes(tokens)
    windows = [kind.attention.window for kind in shape.kinds if kind.attention.window]
    assert kept < full if windows and tokens > min(windows) else kept == full


def test_kv_bytes_of_a_long_sequence():
    oss = load_model("gpt-oss-120b")
    assert oss.kv_bytes(1000) == 2 * 8 * 64 * 2 * 18 * (1000 + 128)
    assert oss.kv_bytes(1000, 8) == oss.kv_bytes(1000) / 8


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("llama-3.1-8b", (3,), "tensor_parallel 3 does not divide the 32 attention heads of llama-3.1-8b"),
        ("llama-3.1-8b", (64,), "does not divide the 32 attention heads"),
        ("falcon-7b", (2,), "does not divide the 71 attention heads"),
        ("qwen2.5-14b", (5,), "tensor_parallel 5 neither divides the 8 KV heads"),
        ("llama-3.1-8b", (1, 2), "expert_parallel 2: llama-3.1-8b has no experts"),
        ("mixtral-8x7b", (1, 3), "expert_parallel 3 does not divide the 8 experts of mixtral-8x7b"),
        ("mixtral-8x7b", (4, 6), "expert_parallel 6 neither divides tensor_parallel 4 nor is a multiple of it"),
        ("llama-3.1-8b", (1, 1, 33), "pipeline_parallel 33 is more than the 32 layers"),
        ("minimax-m2.5", (8,), "leave 192 each, no multiple of fp8_block's 128 (raise expert_parallel)"),
    ],
)
def test_a_split_that_does_not_divide(name, split, message):
    with pytest.raises(InputError) as error:
        load_model(name).check_split(*split)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intermediate_size": 129}, "does not divide the 129 MLP columns of small"),
        ({**MIXTRAL, "intermediate_size": 129}, "does not divide the 129 expert's columns"),
        ({**DEEPSEEK, "moe_intermediate_size": 33, "num_hidden_layers": 1, "first_k_dense_replace": 0},
         "does not divide the 33 shared expert's columns"),
        ({"intermediate_size": 384, "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
         "no multiple of fp8_block's 128 (lower tensor_parallel)"),
    ],
)  # fmt: skip
def test_widths_that_do_not_divide(changes, message):
    with pytest.raises(InputError) as error:
        model(**changes).check_split(2)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("minimax-m2.5", (8, 8)), ("minimax-m2.5", (4, 1)), ("deepseek-v3", (8, 1, 2)), ("deepseek-v3", (1, 32)),
        ("gpt-oss-120b", (8, 1)), ("mixtral-8x7b", (4, 2)), ("gemma-3-27b", (4, 1)), ("llama-4-maverick-fp8", (8, 1)),
    ],
)  # fmt: skip
def test_splits_that_engines_run(name, split):
    load_model(name).check_split(*split)
