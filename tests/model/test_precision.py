"""Precision: what checkpoints say of themselves, and what an engine's options make of them."""

import json

import pytest

from simulator.core import InputError
from simulator.model import Precision, load_model
from tests.model.configs import DEEPSEEK, LLAMA4, MIXTRAL, config, model


def groups(bits, kind, inputs=True, **more):
    weights = {"num_bits": bits, "type": kind, **more}
    return {"group_0": {"weights": weights, "input_activations": {"num_bits": 8} if inputs else None}}


def dense(dtype, kv="bfloat16"):
    return Precision(linear=dtype, attention=dtype, attention_output=dtype, kv=kv)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"quant_method": "fp8", "activation_scheme": "static"}, dense("fp8")),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, dense("fp8_block")),
        ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, dense("fp8")),
        ({"quant_method": "awq", "bits": 4}, dense("w4a16")),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, dense("w4a16")),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}, dense("fp8", "fp8")),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": None}, dense("nvfp4")),
        ({"quant_method": "compressed-tensors", "config_groups": groups(8, "float")}, dense("fp8")),
        (
            {"quant_method": "compressed-tensors"}
            | {"config_groups": groups(8, "float", strategy="block", block_structure=[128, 128])},
            dense("fp8_block"),
        ),
        ({"quant_method": "compressed-tensors", "config_groups": groups(8, "int")}, dense("int8")),
        ({"quant_method": "compressed-tensors", "config_groups": groups(4, "int", inputs=False)}, dense("w4a16")),
        ({"config_groups": groups(4, "float", group_size=16)}, dense("nvfp4")),
        (
            {"config_groups": groups(8, "float"), "kv_cache_scheme": {"num_bits": 8, "type": "float"}},
            dense("fp8", "fp8"),
        ),
        ({"config_groups": groups(8, "int"), "kv_cache_scheme": {"num_bits": 8, "type": "int"}}, dense("int8", "int8")),
    ],
)
def test_a_dense_checkpoints_format(section, expected):
    assert model(quantization_config=section).precision == expected


def fp8(**more):
    return {"quantization_config": {"quant_method": "fp8", **more}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            MIXTRAL | {"model_type": "gpt_oss", "sliding_window": 64, "quantization_config": {"quant_method": "mxfp4"}},
            Precision(experts="mxfp4"),
        ),
        (
            MIXTRAL | fp8(modules_to_not_convert=["gate", "lm_head"]),
            Precision(experts="fp8", attention="fp8", attention_output="fp8"),
        ),
        (MIXTRAL | fp8(modules_to_not_convert=["model.layers.*.self_attn"]), Precision(experts="fp8")),
        (
            MIXTRAL | fp8(ignored_layers=["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]),
            Precision(experts="fp8", attention_output="fp8"),
        ),
        (
            DEEPSEEK | fp8(ignore=["re:.*self_attn.*"]),
            Precision(linear="fp8", experts="fp8", shared="fp8"),
        ),
        (
            DEEPSEEK | fp8(exclude_modules=["language_model.model.layers.*.mlp.shared_experts*"]),
            Precision(linear="fp8", experts="fp8", attention="fp8", attention_output="fp8"),
        ),
        (
            LLAMA4 | fp8(ignore=["re:.*self_attn", "re:.*shared_expert", r"re:.*feed_forward\.up_proj"]),
            Precision(experts="fp8"),
        ),
    ],
)  # fmt: skip
def test_parts_that_a_checkpoint_leaves_in_16_bit(changes, expected):
    assert model(**changes).precision == expected


def test_layers_that_a_checkpoint_leaves_in_16_bit():
    shape = load_model("llama-3.1-405b-fp8")
    # The first and last layer and all attention are 16 bit, as in Meta's Llama 3 report, section 6.2.
    assert [(kind.count, kind.quantized) for kind in shape.kinds] == [(2, False), (124, True)]
    assert [shape.order[0], shape.order[125], sum(shape.order)] == [0, 0, 124]
    first, rest = ({linear.name: linear.dtype for linear in shape.linears(kind)} for kind in shape.kinds)
    assert set(first.values()) == {"bfloat16"}
    assert (rest["qkv"], rest["attention_output"], rest["mlp_up"]) == ("bfloat16", "bfloat16", "fp8")
    plain = load_model("llama-3.1-405b").weight_bytes()
    assert plain - shape.weight_bytes() == 124 * 3 * 16384 * 53248
    assert load_model("deepseek-v3").precision_of(load_model("deepseek-v3").kinds[0]).linear == "fp8_block"


def test_modelopts_second_file_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config()))
    quantization = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": quantization}))
    assert load_model(str(tmp_path)).precision == dense("fp8", "fp8")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("fp8", "quantization_config is 'fp8', expected an object"),
        ({"quant_method": "bitsandbytes"}, "quantization method 'bitsandbytes' is not known"),
        ({"bits": 4}, "quantization method '' is not known"),
        ({"quant_method": "gptq", "bits": 8}, "gptq with 8 bits is not modelled, only with 4"),
        ({"quant_method": "fp8", "weight_block_size": [64, 64]}, "weight_block_size [64, 64] is not modelled"),
        ({"config_groups": groups(8, "int", inputs=False)}, "8-bit int weights with 16-bit activations"),
        ({"config_groups": groups(4, "int")}, "4-bit int weights with quantized activations"),
        (
            {"config_groups": {**groups(8, "float"), "group_1": groups(4, "float")["group_0"]}},
            "mixes fp8, nvfp4: one format is modelled",
        ),
        ({"quant_method": "fp8", "ignore": "lm_head"}, "quantization_config.ignore is 'lm_head', expected a list"),
        ({"quant_method": "fp8", "ignore": ["re:("]}, "quantization_config ignores 're:('"),
        ({"config_groups": [1]}, "config_groups should be an object of objects"),
        ({"config_groups": {"group_0": {}}}, "config_groups has a group without weights"),
        ({"quant_method": "fp8", "kv_cache_scheme": {"num_bits": 4, "type": "float"}}, "a KV cache of float4"),
    ],
)
def test_formats_that_are_not_modelled(section, message):
    with pytest.raises(InputError) as error:
        model(quantization_config=section)
    assert str(error.value).startswith("config.json: model small: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("word", "dtype"),
    [
        ("fp8", "fp8"), ("fp8_block", "fp8_block"), ("int8", "int8"), ("w8a8", "int8"), ("awq", "w4a16"),
        ("gptq", "w4a16"), ("w4a16", "w4a16"), ("nvfp4", "nvfp4"),
    ],
)  # fmt: skip
def test_an_option_quantizes_all_parts_of_a_16_bit_checkpoint(word, dtype):
    parts = {"linear", "experts", "attention", "attention_output", "shared"}
    assert model().with_precision(word, "auto").precision == Precision(**dict.fromkeys(parts, dtype))


def test_mxfp4_is_for_experts():
    assert model(**MIXTRAL).with_precision("mxfp4").precision == Precision(experts="mxfp4")
    with pytest.raises(InputError, match="'mxfp4' is for experts, and small has none"):
        model().with_precision("mxfp4")


@pytest.mark.parametrize(
    ("option", "kv"),
    [("auto", "fp8"), ("bfloat16", "bfloat16"), ("fp8_e5m2", "fp8"), ("int8", "int8"), ("int4", "int4")],
)
def test_the_kv_cache_option_overrules_the_checkpoint(option, kv):
    checkpoint = load_model("llama-3.1-8b-fp8")
    assert checkpoint.with_precision(None, option).precision == dense("fp8", kv)


def test_no_option_keeps_the_checkpoint():
    for name in ("llama-3.1-8b", "llama-3.1-8b-fp8", "gpt-oss-20b", "deepseek-v3"):
        assert load_model(name).with_precision(None, "auto") == load_model(name)


def test_an_option_may_repeat_the_checkpoints_format():
    assert load_model("llama-3.1-8b-fp8").with_precision("fp8") == load_model("llama-3.1-8b-fp8")
    assert load_model("gpt-oss-20b").with_precision("mxfp4") == load_model("gpt-oss-20b")
    # vLLM's one word for both.
    assert load_model("qwen3-32b-fp8").with_precision("fp8") == load_model("qwen3-32b-fp8")


@pytest.mark.parametrize(
    ("name", "quantization", "message"),
    [
        ("llama-3.1-8b-fp8", "awq", "llama-3.1-8b-fp8 is a checkpoint in fp8 already"),
        ("llama-3.1-8b-fp8", "fp8_block", "is a checkpoint in fp8 already"),
        ("gpt-oss-20b", "fp8", "gpt-oss-20b is a checkpoint in mxfp4 already"),
        ("llama-3.1-8b", "fp9", "unknown quantization 'fp9' (did you mean 'fp8'?)"),
    ],
)
def test_options_that_contradict_the_checkpoint(name, quantization, message):
    with pytest.raises(InputError) as error:
        load_model(name).with_precision(quantization, "auto")
    assert message in str(error.value)


def test_an_unknown_kv_format():
    with pytest.raises(InputError, match="unknown kv_cache_dtype 'fp7'"):
        model().with_precision(None, "fp7")
