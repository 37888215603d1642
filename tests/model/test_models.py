"""Shapes of known models against published counts, and configurations that are refused."""

import json

import pytest

from simulator.core import InputError
from simulator.model.registry import known_models, load_model
from simulator.model.transformer import Transformer

# Totals of the safetensors index of each model's repository on Hugging Face; OPT (which has none) counted tensor by
# tensor from transformers' modeling_opt.py: 12 L h^2 + 13 L h + (V + 2050) h + 2 h.
PUBLISHED = {
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "mistral-7b-v0.3": 7_248_023_552,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-8b": 8_190_735_360,
    "qwen3-32b": 32_762_123_264,
    "yi-34b": 34_388_917_248,
    "opt-13b": 12_853_473_280,
    "opt-66b": 65_719_664_640,
}


@pytest.mark.parametrize("name", known_models())
def test_parameters_are_those_published(name):
    assert load_model(name).parameters == pytest.approx(PUBLISHED[name], rel=0.005)


@pytest.mark.parametrize(
    ("name", "kilobytes"),
    [
        ("opt-13b", 800),  # "800 KB": Kwon et al., PagedAttention, SOSP 2023, section 3
        ("llama-2-7b", 512),  # 2 x 32 layers x 32 heads x 128 x 2 bytes
        ("llama-2-70b", 320),  # 2 x 80 x 8 x 128 x 2
        ("llama-3.1-8b", 128),  # 2 x 32 x 8 x 128 x 2
        ("llama-3.1-70b", 320),
        ("qwen2.5-7b", 56),  # 2 x 28 x 4 x 128 x 2
        ("qwen3-32b", 256),  # 2 x 64 x 8 x 128 x 2; its heads are wider than hidden / heads
    ],
)
def test_kv_bytes_of_a_token(name, kilobytes):
    assert load_model(name).kv_bytes_per_token == kilobytes * 1024


def test_explicit_head_width_wins_over_hidden_by_heads():
    assert load_model("qwen3-32b").head_dim == 128
    assert load_model("qwen3-32b").hidden // load_model("qwen3-32b").heads == 80


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_gpus_share_a_layers_weights(tp):
    model = load_model("llama-3.1-8b")
    one = sum(linear.inputs * linear.outputs for linear in model.linears(1))
    assert sum(linear.inputs * linear.outputs for linear in model.linears(tp)) == one // tp


def test_few_kv_heads_are_replicated():
    model = load_model("qwen2.5-7b")
    assert [model.kv_heads_each(tp) for tp in (1, 2, 4, 7, 28)] == [4, 2, 1, 1, 1]


@pytest.mark.parametrize(("tp", "what"), [(3, "attention heads"), (5, "attention heads"), (64, "attention heads")])
def test_a_split_that_does_not_divide(tp, what):
    with pytest.raises(InputError, match=what):
        load_model("llama-3.1-8b").check_split(tp)


def config(**changes):
    base = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 1000, "max_position_embeddings": 512,
    }  # fmt: skip
    base |= changes
    return {key: value for key, value in base.items() if value is not None}


def test_a_config_is_read_key_by_key():
    model = Transformer.from_config("small", config())
    assert model == Transformer("small", 2, 64, 8, 4, 8, 128, True, 1000, False, 512)
    # q and o: 64 x 64; k and v: 64 x 32; three of 64 x 128; embedding and head.
    assert model.parameters == 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128) + 2 * 64 * 1000
    tied = Transformer.from_config("small", config(tie_word_embeddings=True))
    assert model.parameters - tied.parameters == 64 * 1000
    assert Transformer.from_config("small", config(num_key_value_heads=None)).kv_heads == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "hidden_size is None"),
        ({"vocab_size": "1000"}, "vocab_size is '1000'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"num_attention_heads": 2.5}, "num_attention_heads is 2.5"),
        ({"model_type": "mamba"}, "model_type 'mamba' is not known"),
        ({"model_type": None}, "model_type None is not known"),
        ({"num_local_experts": 8}, "num_local_experts: only dense models"),
        ({"n_routed_experts": 256, "model_type": "deepseek_v3"}, "n_routed_experts: only dense models"),
        ({"kv_lora_rank": 512}, "kv_lora_rank: only dense models"),
        ({"quantization_config": {"quant_method": "fp8"}}, "is quantized"),
        ({"torch_dtype": "float8_e4m3fn"}, "dtype 'float8_e4m3fn' is not known"),
        ({"model_type": "opt"}, "ffn_dim is None"),
    ],
)
def test_what_is_not_modelled_is_refused(changes, message):
    with pytest.raises(InputError, match=r"config\.json:") as error:
        Transformer.from_config("odd", config(**changes), where="config.json")
    assert message in str(error.value)


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_config_json_is_a_model(tmp_path, as_folder):
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config()))
    model = load_model(str(folder if as_folder else folder / "config.json"))
    assert (model.name, model.layers) == ("my-model", 2)


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


def test_a_missing_file_and_an_unknown_name():
    with pytest.raises(InputError, match="cannot read this model configuration"):
        load_model("/nowhere/config.json")
    with pytest.raises(InputError, match=r"did you mean 'llama-3\.1-8b'"):
        load_model("llama-3.1-8B")
