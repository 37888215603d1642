"""Reading ``config.json``: what each family's keys mean, and what is refused."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.core import InputError
from simulator.model import Attention, Experts, LatentAttention, LayerKind, Mlp, Transformer, load_model
from simulator.model.families import FAMILIES
from tests.model.configs import DEEPSEEK, LLAMA4, MIXTRAL, QWEN_MOE, config, model


def test_a_config_is_read_key_by_key():
    kind = LayerKind(2, Attention(8, 4, 8, 8), Mlp(128, gated=True))
    assert model() == Transformer("small", 64, 1000, False, 512, (kind,))
    # q and o: 64 x 64; k and v: 64 x 32; three of 64 x 128; embedding and head.
    assert model().parameters == 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128) + 2 * 64 * 1000
    assert model().parameters - model(tie_word_embeddings=True).parameters == 64 * 1000
    assert model(num_key_value_heads=None).kinds[0].attention.kv_heads == 8
    assert model(head_dim=32).kinds[0].attention == Attention(8, 4, 32, 32)


def windows(**changes):
    shape = model(**changes)
    return [shape.kinds[index].attention.window for index in shape.order]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model_type": "llama", "sliding_window": 64}, [0, 0]),
        ({"model_type": "mistral", "sliding_window": 64}, [64, 64]),
        ({"model_type": "mistral", "sliding_window": 512}, [0, 0]),  # no shorter than the longest sequence
        ({**MIXTRAL, "sliding_window": 64}, [64, 64]),
        ({"model_type": "qwen2", "sliding_window": 64}, [0, 0]),
        ({"model_type": "qwen2", "sliding_window": 64, "use_sliding_window": True, "max_window_layers": 1}, [0, 64]),
        ({"model_type": "gemma2", "sliding_window": 64, "num_hidden_layers": 3}, [64, 0, 64]),
        ({"model_type": "gemma3_text", "sliding_window": 64, "num_hidden_layers": 7}, [64, 64, 64, 64, 64, 0, 64]),
        ({"model_type": "gemma3_text", "sliding_window": 64, "sliding_window_pattern": 2}, [64, 0]),
        ({**MIXTRAL, "model_type": "gpt_oss", "sliding_window": 64}, [64, 0]),
        (
            {**MIXTRAL, "model_type": "gpt_oss", "sliding_window": 64}
            | {"layer_types": ["full_attention", "sliding_attention"]},
            [0, 64],
        ),
        (LLAMA4, [64, 64, 64, 0] * 2),
        ({**LLAMA4, "no_rope_layers": [1, 0] * 4}, [64, 0] * 4),
        ({**LLAMA4, "no_rope_layers": []}, [64, 64, 64, 0] * 2),
        ({**LLAMA4, "layer_types": ["full_attention", "chunked_attention"] * 4}, [0, 64] * 4),
        ({**LLAMA4, "attention_chunk_size": None}, [0] * 8),
    ],
)
def test_windows(changes, expected):
    assert windows(**changes) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (MIXTRAL, [Experts(4, 2, 128, True)] * 2),
        ({**MIXTRAL, "model_type": "minimax_m2", "shared_intermediate_size": 0}, [Experts(4, 2, 128, True)] * 2),
        (QWEN_MOE, [Experts(4, 2, 32, True)] * 2),
        ({**QWEN_MOE, "decoder_sparse_step": 2}, [Mlp(128, True), Experts(4, 2, 32, True)]),
        ({**QWEN_MOE, "mlp_only_layers": [1]}, [Experts(4, 2, 32, True), Mlp(128, True)]),
        (
            {**QWEN_MOE, "model_type": "qwen2_moe", "shared_expert_intermediate_size": 96},
            [Experts(4, 2, 32, True, shared_ffn=96)] * 2,
        ),
        ({**DEEPSEEK, "n_shared_experts": 2}, [Mlp(128, True), Experts(4, 2, 32, True, shared_ffn=64)]),
        ({**DEEPSEEK, "moe_layer_freq": 2, "first_k_dense_replace": 0}, [Experts(4, 2, 32, True, 32), Mlp(128, True)]),
        (LLAMA4, [Mlp(256, True), Experts(4, 1, 128, True, shared_ffn=128)] * 4),
        ({**LLAMA4, "num_hidden_layers": 2, "moe_layers": [0]}, [Experts(4, 1, 128, True, 128), Mlp(256, True)]),
    ],
)
def test_experts(changes, expected):
    shape = model(**changes)
    assert [shape.kinds[index].mlp for index in shape.order] == expected


def test_latent_attention():
    assert model(**DEEPSEEK).kinds[0].attention == LatentAttention(8, 48, 16, 8, 4, 8)
    assert model(**{**DEEPSEEK, "q_lora_rank": None}).kinds[0].attention == LatentAttention(8, 0, 16, 8, 4, 8)


@pytest.mark.parametrize(
    ("values", "kv_heads", "ffn", "parallel"),
    [
        ({"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 8, "n_positions": 512}, 8, 256, False),
        ({"model_type": "gptj", "n_embd": 64, "n_layer": 2, "n_head": 8, "n_positions": 512}, 8, 256, True),
        ({"model_type": "bloom", "n_embed": 64, "n_layer": 2, "n_head": 8, "seq_length": 512}, 8, 256, False),
        ({"model_type": "opt", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8, "ffn_dim": 100}
         | {"max_position_embeddings": 512}, 8, 100, False),
        ({"model_type": "gpt_neox", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8}
         | {"max_position_embeddings": 512, "intermediate_size": 256}, 8, 256, True),
        ({"model_type": "gpt_neox", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8}
         | {"max_position_embeddings": 512, "use_parallel_residual": False}, 8, 256, False),
        ({"model_type": "falcon", "hidden_size": 64, "n_layer": 2, "n_head": 8}, 1, 256, True),
        ({"model_type": "falcon", "hidden_size": 64, "n_layer": 2, "n_head": 8, "multi_query": False}
         | {"parallel_attn": False}, 8, 256, False),
        ({"model_type": "falcon", "hidden_size": 64, "n_layer": 2, "n_head": 8, "n_head_kv": 2}
         | {"new_decoder_architecture": True, "ffn_hidden_size": 200}, 2, 200, True),
    ],
)  # fmt: skip
def test_families_without_gates(values, kv_heads, ffn, parallel):
    shape = Transformer.from_config("old", {"vocab_size": 1000, **values})
    assert shape.kinds == (LayerKind(2, Attention(8, kv_heads, 8, 8), Mlp(ffn, gated=False), parallel),)
    assert shape.tied == (values["model_type"] not in ("gptj", "gpt_neox"))
    assert shape.max_model_len == (2048 if values["model_type"] == "falcon" else 512)


def test_the_text_config_of_a_multimodal_model_counts():
    text = {"model_type": "gemma3_text", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6}
    shape = Transformer.from_config("gemma", {"model_type": "gemma3", "text_config": text | {"sliding_window": 64}})
    # What Gemma 3 leaves out of its file: 8 heads of 256 and 4 of keys, a vocabulary of 262,208, tied, 131,072 tokens.
    assert shape.kinds[0] == LayerKind(5, Attention(8, 4, 256, 256, window=64), Mlp(128, gated=True))
    assert (shape.vocab, shape.tied, shape.max_model_len, shape.qk_norm) == (262208, True, 131072, True)


@pytest.mark.parametrize(
    ("changes", "normalised"),
    [
        ({}, False),
        ({"model_type": "qwen3"}, True),
        (LLAMA4, True),
        ({**LLAMA4, "use_qk_norm": False}, False),
    ],
)
def test_which_models_normalise_queries_and_keys(changes, normalised):
    assert model(**changes).qk_norm is normalised


@pytest.mark.parametrize(
    ("changes", "across"),
    [
        ({}, True),
        ({"qk_norm_type": "per_layer"}, True),
        ({"qk_norm_type": "per_head"}, False),
        ({"use_qk_norm": False}, False),
        ({"model_type": "qwen3_moe", "moe_intermediate_size": 64}, False),
    ],
)
def test_minimax_normalises_over_all_heads_of_a_layer(changes, across):
    minimax = {**MIXTRAL, "model_type": "minimax_m2", "use_qk_norm": True, "shared_intermediate_size": 0}
    assert model(**{**minimax, **changes}).norm_across_heads is across


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "hidden_size is None, expected a whole number above 0"),
        ({"vocab_size": "1000"}, "vocab_size is '1000'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"num_attention_heads": 2.5}, "num_attention_heads is 2.5"),
        ({"model_type": "t5"}, "model_type 't5' is not known"),
        ({"model_type": None}, "model_type None is not known"),
        ({"model_type": ["llama"]}, "model_type ['llama'] is not known"),
        ({"torch_dtype": "float8_e4m3fn"}, "dtype 'float8_e4m3fn' is not known"),
        ({"model_type": "opt"}, "ffn_dim is None"),
        ({"model_type": "opt", "ffn_dim": 256, "word_embed_proj_dim": 32}, "word_embed_proj_dim 32 other than"),
        ({"num_local_experts": 8}, "8 experts, which llama models don't have"),
        ({**QWEN_MOE, "mlp_only_layers": 3}, "mlp_only_layers is 3, expected a list"),
        ({**MIXTRAL, "num_experts_per_tok": 5}, "num_experts_per_tok is 5, more than the 4 experts"),
        ({**QWEN_MOE, "moe_intermediate_size": None}, "moe_intermediate_size is None"),
        ({**DEEPSEEK, "kv_lora_rank": None}, "kv_lora_rank is None"),
        ({**DEEPSEEK, "q_lora_rank": -1}, "q_lora_rank is -1"),
        ({"model_type": "mistral", "sliding_window": "4k"}, "sliding_window is '4k'"),
        ({"model_type": "gemma2", "layer_types": ["full_attention"]}, "layer_types should be a list with one entry"),
        ({**LLAMA4, "no_rope_layers": 4}, "no_rope_layers should be a list with one entry for each of the 8 layers"),
        ({"model_type": "nemotron_h", "hybrid_override_pattern": "M-M*-"}, "hybrid_override_pattern says that some"),
        ({"model_type": "qwen3_next", "linear_num_key_heads": 16}, "are Mamba or linear attention"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "layer_types says that some layers"),
        ({"layer_types": ["mamba", "full_attention"]}, "layer_types says that some layers"),
        ({"model_type": "minimax", "attn_type_list": [0, 1]}, "attn_type_list says that some layers"),
    ],
)
def test_what_is_not_modelled_is_refused(changes, message):
    with pytest.raises(InputError) as error:
        model(**changes)
    assert str(error.value).startswith("config.json: model small: ")
    assert message in str(error.value)


JUNK = st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=3) | st.floats(0, 9)
JUNK |= st.lists(JUNK, max_size=3) | st.dictionaries(st.sampled_from(["weights", "quant_method", "ignore"]), JUNK)
KEYS = sorted({key for each in (config(), MIXTRAL, QWEN_MOE, DEEPSEEK, LLAMA4) for key in each})
KEYS += ["layer_types", "no_rope_layers", "mlp_only_layers", "moe_layers", "sliding_window", "use_sliding_window"]
KEYS += ["quantization_config", "text_config", "torch_dtype", "attn_type_list", "head_dim", "max_window_layers"]
FILES = [MIXTRAL, QWEN_MOE, DEEPSEEK, LLAMA4] + [{"model_type": family} for family in FAMILIES]


@given(st.sampled_from(FILES), st.dictionaries(st.sampled_from(KEYS), JUNK, min_size=1, max_size=3))
@settings(max_examples=300)
def test_junk_is_an_input_error_never_a_crash(file, junk):
    with contextlib.suppress(InputError):
        model(**file | junk)


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_config_json_is_a_model(tmp_path, as_folder):
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config()))
    shape = load_model(str(folder if as_folder else folder / "config.json"))
    assert (shape.name, shape.layers) == ("my-model", 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot read this model configuration"), ("[1]", "expected an object"), ("{}", "model_type None")],
)
def test_a_file_that_is_no_config(tmp_path, text, message):
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_model(str(file))
    assert str(file) in str(error.value)


def test_a_missing_file():
    with pytest.raises(InputError, match="cannot read this model configuration"):
        load_model("/nowhere/config.json")
