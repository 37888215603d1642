"""Techniques on the model's shape: KV bytes, weights and FLOPs as the closed forms say; what cannot be is refused."""

from dataclasses import replace

import pytest
from support.techniques import assembled, experiment

from simulator.core import InputError
from simulator.experiment.costs import matmul_flops
from simulator.experiment.techniques.stack import Stack
from simulator.model import load_model
from simulator.scheduling.registry import SCHEDULERS

HIDDEN, LAYERS, HEADS, KV, HEAD, FFN, VOCAB = 4096, 32, 32, 8, 128, 14336, 128256
LLAMA = load_model("llama-3.1-8b")


def changed(*techniques, model=LLAMA):
    return Stack(experiment(list(techniques))).model(model)


def refused(reason, *techniques, **changes):
    with pytest.raises(InputError, match=reason):
        assembled(list(techniques), **changes)


def test_the_baseline_is_as_written_here():
    assert LLAMA.parameters == LAYERS * (
        HIDDEN * (HEADS + 2 * KV) * HEAD + HEADS * HEAD * HIDDEN + 3 * HIDDEN * FFN
    ) + (2 * VOCAB * HIDDEN)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_grouped_queries_keep_the_groups_share_of_kv(kv_heads):
    small = changed({"name": "grouped_query_attention", "kv_heads": kv_heads})
    assert small.kv_bytes_per_token() == 2 * 2 * LAYERS * kv_heads * HEAD
    assert LLAMA.parameters - small.parameters == LAYERS * HIDDEN * 2 * (KV - kv_heads) * HEAD


def test_latent_attention_keeps_rank_and_rope():
    latent = changed({"name": "latent_attention", "kv_rank": 256, "rope": 32, "query_rank": 0})
    assert latent.kv_bytes_per_token() == 2 * LAYERS * (256 + 32)
    attention = HIDDEN * (256 + 32) + HIDDEN * HEADS * (HEAD + 32) + 256 * HEADS * 2 * HEAD + HEADS * HEAD * HIDDEN
    assert latent.parameters == LAYERS * (attention + 3 * HIDDEN * FFN) + 2 * VOCAB * HIDDEN


def test_a_window_keeps_no_more_than_it_sees():
    model = changed({"name": "sliding_window", "window": 1000, "sinks": 24, "share": 0.75})
    per_layer = 2 * 2 * KV * HEAD
    assert model.kv_bytes(5000) == per_layer * (24 * 1024 + 8 * 5000)
    assert model.kv_bytes(500) == per_layer * 32 * 500
    assert [kind.count for kind in model.kinds] == [24, 8]


def test_blocks_grow_by_what_a_window_evicts():
    fixed = {
        "arrivals": {"process": "poisson", "rate": "1/s"},
        "prompt": {"distribution": "fixed", "tokens": 3996},
        "output": {"distribution": "fixed", "tokens": 100},
        "requests": 2,
    }
    base, evicting, keeping = (
        assembled(technique, workload=fixed).kinds[0]["kv_blocks"]
        for technique in (
            [],
            [{"name": "sliding_window", "window": 1020}],
            [{"name": "sliding_window", "window": 1020, "evict": False}],
        )
    )
    assert keeping == base and evicting == pytest.approx(4 * base, abs=4)


def test_low_rank_attention_keeps_rank_rows():
    assert changed({"name": "low_rank_attention", "rank": 256}).kv_bytes(4096) == LLAMA.kv_bytes(256)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_linear_layers_keep_a_state_and_no_kv(share):
    base, fewer = (
        assembled(technique).kinds[0]["kv_blocks"] for technique in ([], [{"name": "linear_attention", "share": share}])
    )
    running = SCHEDULERS.parameters("vllm")["max_num_seqs"].default
    states = running * share * LAYERS * KV * HEAD * HEAD * 2
    block = 16 * 2 * 2 * LAYERS * KV * HEAD
    assert fewer == pytest.approx((base * block - states) / (block * (1 - share)), abs=4)


def test_a_linear_transformer_never_runs_out_of_blocks():
    assert assembled([{"name": "linear_attention", "share": 1.0}]).kinds[0]["kv_blocks"] >= 2**40


def test_structured_pruning_leaves_its_shares():
    pruned = changed("structured_pruning")
    heads, kv, ffn = 24, 6, FFN * 3 // 4
    assert pruned.parameters - 2 * VOCAB * HIDDEN == LAYERS * (
        HIDDEN * (heads + 2 * kv) * HEAD + heads * HEAD * HIDDEN + 3 * HIDDEN * ffn
    )
    assert changed({"name": "structured_pruning", "ffn": 0.0, "heads": 0.0, "layers": 0.25}).layers == 24


def test_experts_spare_flops_and_not_weights():
    cut = changed("mixture_of_experts")
    router = LAYERS * HIDDEN * 8
    assert cut.parameters == LLAMA.parameters + router
    assert matmul_flops(LLAMA) - matmul_flops(cut) == 2 * (0.75 * LAYERS * 3 * HIDDEN * FFN - router)
    whole = changed({"name": "mixture_of_experts", "upcycled": True})
    assert whole.parameters == LLAMA.parameters + router + 7 * LAYERS * 3 * HIDDEN * FFN
    assert matmul_flops(whole) - matmul_flops(LLAMA) == 2 * (LAYERS * 3 * HIDDEN * FFN + router)


def test_a_smaller_model_takes_the_models_place():
    assert changed("smaller_model") == load_model("llama-3.2-3b")


def test_2_of_4_weights_leave_nine_sixteenths():
    weights = LLAMA.parameters - 2 * VOCAB * HIDDEN
    more = (assembled(["sparsity_2_4"]).kinds[0]["kv_blocks"] - assembled([]).kinds[0]["kv_blocks"]) * 16 * 131072
    assert more == pytest.approx(weights * 2 * 7 / 16, abs=2 * 16 * 131072)


def test_factors_leave_the_share_of_weights():
    weights = LLAMA.parameters - 2 * VOCAB * HIDDEN
    kept = assembled([{"name": "low_rank_factorization", "kept": 0.5}]).kinds[0]["kv_blocks"]
    more = (kept - assembled([]).kinds[0]["kv_blocks"]) * 16 * 131072
    assert more == pytest.approx(weights * 2 * 0.5, rel=1e-3)  # ranks are whole numbers


@pytest.mark.parametrize(
    ("techniques", "model", "reason"),
    [
        (["grouped_query_attention"], "deepseek-v2-lite", "has latent attention"),
        ([{"name": "grouped_query_attention", "kv_heads": 8}], "llama-3.1-8b", "no fewer than the 8"),
        ([{"name": "grouped_query_attention", "kv_heads": 3}], "llama-3.1-8b", "do not divide the 32"),
        (["latent_attention"], "deepseek-v2-lite", "has latent attention already"),
        (["latent_attention"], "falcon-7b", "is no smaller than the 128 of falcon-7b"),
        (["sliding_window"], "deepseek-v2-lite", "know no window"),
        (["sparse_attention"], "deepseek-v2-lite", "measured as whole modules"),
        (["linear_attention"], "gemma-3-12b", "latent or windowed"),
        (["mixture_of_experts"], "qwen3-30b-a3b", "has experts already"),
        ([{"name": "mixture_of_experts", "experts": 2, "top_k": 3}], "llama-3.1-8b", "top_k 3 of 2"),
        (["structured_pruning"], "qwen3-30b-a3b", "experts or latent"),
        (["sparsity_2_4"], "qwen3-30b-a3b", "experts or latent"),
        (["low_rank_factorization"], "deepseek-v2-lite", "experts or latent"),
        (["smaller_model"], "llama-3.2-1b", "no smaller"),
        (["smaller_model", "structured_pruning"], "llama-3.1-8b", "both change the size of the model"),
        (["sliding_window", "sparse_attention"], "llama-3.1-8b", "both change the tokens that attention sees"),
        (["grouped_query_attention", "latent_attention"], "llama-3.1-8b", "both change the heads of keys and values"),
    ],
)
def test_what_cannot_be_is_refused(techniques, model, reason):
    refused(reason, *techniques, model=model)


def test_they_compose():
    model = changed("smaller_model", {"name": "grouped_query_attention", "kv_heads": 2}, "mixture_of_experts")
    small = load_model("llama-3.2-3b")
    assert model.kv_bytes_per_token() == small.kv_bytes_per_token() / 4
    assert model.with_precision("fp8", "fp8").kv_bytes_per_token() == small.kv_bytes_per_token() / 8
    assert replace(model, kinds=small.kinds) == small
