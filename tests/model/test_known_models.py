"""Shapes of known models against published parameter counts and KV bytes a token."""

from pathlib import Path

import pytest

from simulator.core import InputError
from simulator.model import Experts, LatentAttention, known_models, load_model
from simulator.model.describe import describe_model
from simulator.model.registry import known_name, known_source

# Totals of each repository's safetensors index on Hugging Face, where no other source is named. They hold norms and
# biases too (of block FP8 also scales), which the shape leaves out: about 0.1 % at most.
INDEXED = {
    "bloom-176b": 176_247_271_424,
    "codellama-7b": 6_738_546_688,
    "codellama-13b": 13_016_028_160,
    "codellama-34b": 33_743_970_304,
    "deepseek-v2": 235_741_434_880,
    "deepseek-v2-lite": 15_706_484_224,
    "deepseek-v3": 671e9,  # README: "671B of the main model weights", without the layer that predicts a second token
    # Falcon's checkpoints hold the tied head twice; tensor by tensor from transformers' modeling_falcon.py.
    "falcon-7b": 6_921_720_704,
    "falcon-40b": 41_303_293_952,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "gemma-3-1b": 999_885_952,
    "granite-3.1-8b": 8_170_848_256,
    "gpt-oss-20b": 20.91e9,  # model card, table 1
    "gpt-oss-120b": 116.83e9,  # model card, table 1
    "kimi-k2": 1_026_470_731_056,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "minimax-m2.5": 228_703_644_928,
    "mistral-7b-v0.1": 7_241_732_096,
    "mistral-7b-v0.3": 7_248_023_552,
    "mistral-large-2407": 122_610_069_504,
    "mistral-nemo-12b": 12_247_782_400,
    "mistral-small-24b": 23_572_403_200,
    "mixtral-8x7b": 46_702_792_704,
    "mixtral-8x22b": 140_620_634_112,
    # OPT has no index: tensor by tensor from transformers' modeling_opt.py, 12 L h^2 + 13 L h + (V + 2050) h + 2 h.
    "opt-13b": 12_853_473_280,
    "opt-30b": 29_974_540_288,
    "opt-66b": 65_719_664_640,
    "phi-4": 14_659_507_200,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    # Checkpoints of the smallest hold the tied head twice: their embeddings once, as the model has them.
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "qwen3-coder-480b-a35b": 480_154_875_392,
    "yi-34b": 34_388_917_248,
}
# Published in words or with what text serving doesn't run: within 1 %.
ROUNDED = {
    "falcon-180b": 180e9,  # Almazrouei et al., The Falcon Series of Open Language Models, 2023
    "gemma-3-4b": 3_884e6,  # as gemma-3-12b
    "gemma-3-12b": 11_771e6,  # Gemma 3 technical report, table 1: embedding and non-embedding, without vision
    "gemma-3-27b": 27_016e6,
    "glm-4.5": 355e9,  # model card: 355 billion total parameters
    "glm-4.5-air": 106e9,  # model card: 106 billion
    "gpt3-175b": 175e9,  # Brown et al. 2020, table 2.1
    "opt-175b": 175e9,  # Zhang et al. 2022, table 1
    "llama-4-scout": 108_641_793_536,  # the index counts 0.87e9 of the vision encoder, too
    "llama-4-maverick": 401_583_781_376,
}


@pytest.mark.parametrize(("name", "count"), INDEXED.items())
def test_parameters_are_those_of_the_checkpoint(name, count):
    assert load_model(name).parameters == pytest.approx(count, rel=0.0011)


@pytest.mark.parametrize(("name", "count"), ROUNDED.items())
def test_parameters_are_those_published(name, count):
    assert load_model(name).parameters == pytest.approx(count, rel=0.01)


def test_every_shape_is_held_against_a_published_count():
    # The others are one of these in another precision, or for longer sequences.
    assert {load_model(name).parameters for name in known_models()} == {
        load_model(name).parameters for name in (*INDEXED, *ROUNDED)
    }


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("mixtral-8x7b", "12.9"),  # Jiang et al., Mixtral of Experts, 2024
        ("mixtral-8x22b", "39"),  # Mistral's announcement: 39B active of 141B
        ("qwen3-235b-a22b", "22"),  # Qwen3 technical report, as in the name
        ("llama-4-scout", "17"),  # model cards, as in the names
        ("llama-4-maverick", "17"),
    ],
)
def test_active_parameters_are_those_published(name, billions):
    decimals = len(billions.partition(".")[2])
    assert f"{load_model(name).active_parameters / 1e9:.{decimals}f}" == billions


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("gpt-oss-120b", "5.13"),  # model card, table 1: "unembedding parameters count towards active, not embeddings"
        ("gpt-oss-20b", "3.61"),
        ("deepseek-v3", "37"),  # DeepSeek-V3 technical report: 37B activated
        ("kimi-k2", "32"),  # model card: 32 billion activated
        ("minimax-m2.5", "10"),  # model card: 10 billion active
        ("qwen3-30b-a3b", "3.0"),  # "A3B"; the model card's 3.3B counts the embedding
    ],
)
def test_active_parameters_of_those_who_leave_the_embedding_out(name, billions):
    model = load_model(name)
    decimals = len(billions.partition(".")[2])
    assert f"{(model.active_parameters - model.vocab * model.hidden) / 1e9:.{decimals}f}" == billions


@pytest.mark.parametrize(
    ("name", "kilobytes"),
    [
        ("deepseek-v3", 70.272),  # Zhao et al., Insights into DeepSeek-V3, ISCA 2025, table 1
        ("qwen2.5-72b", 327.680),  # the same table
        ("llama-3.1-405b", 516.096),  # the same table
        ("opt-13b", 819.2),  # "800 KB" of 1024: Kwon et al., PagedAttention, SOSP 2023, section 3
        ("llama-2-7b", 524.288),  # 2 x 32 layers x 32 heads x 128 x 2 bytes
        ("llama-3.1-70b", 327.680),  # 2 x 80 x 8 x 128 x 2
        ("llama-3.1-70b-fp8", 163.840),  # one byte each
        ("qwen3-32b", 262.144),  # 2 x 64 x 8 x 128 x 2; its heads are wider than hidden / heads
        ("falcon-7b", 8.192),  # 2 x 32 x 1 x 64 x 2: multi-query
        ("gpt-oss-20b", 49.152),  # 2 x 24 x 8 x 64 x 2
        ("deepseek-v2-lite", 31.104),  # 27 x (512 + 64) x 2
    ],
)
def test_kv_bytes_of_a_token(name, kilobytes):
    assert load_model(name).kv_bytes_per_token() == pytest.approx(kilobytes * 1000, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("gpt-oss-120b", 60.8 * 1.073741824),  # OpenAI's model card, table 1: checkpoint sizes in GiB
        ("gpt-oss-20b", 12.8 * 1.073741824),
    ],
)
def test_weight_bytes_are_the_checkpoints(name, gigabytes):
    assert load_model(name).weight_bytes() / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_only_the_experts_of_kimi_k2_thinking_have_4_bits():
    precision = load_model("kimi-k2-thinking").precision
    assert (precision.experts, precision.shared, precision.linear, precision.attention) == ("w4a16", *3 * ("bfloat16",))


@pytest.mark.parametrize(
    ("name", "kv", "sixteen_bit"),
    [
        # As the repositories' hf_quant_config.json exclude them; embedding, head and router are 16 bit in all.
        ("deepseek-v3-nvfp4", "fp8", {"attention"}),
        ("deepseek-r1-nvfp4", "bfloat16", {"attention", "attention_output"}),
        ("minimax-m2.5-nvfp4", "fp8", {"attention", "attention_output"}),
        ("qwen3-235b-a22b-nvfp4", "fp8", set()),
    ],
)
def test_what_nvidias_nvfp4_checkpoints_leave_in_16_bit(name, kv, sixteen_bit):
    precision = load_model(name).precision
    assert (precision.experts, precision.kv) == ("nvfp4", kv)
    kept = {part for part in ("attention", "attention_output") if getattr(precision, part) == "bfloat16"}
    assert kept == sixteen_bit


@pytest.mark.parametrize(
    ("name", "windowed", "full", "window"),
    [
        ("gemma-3-27b", 52, 10, 1024),
        ("gemma-3-12b", 40, 8, 1024),
        ("gpt-oss-120b", 18, 18, 128),
        ("llama-4-scout", 36, 12, 8192),
        ("mistral-7b-v0.1", 32, 0, 4096),
        ("gemma-2-9b", 21, 21, 4096),
        ("gemma-3-4b", 29, 5, 1024),
        ("phi-4", 0, 40, 0),
        ("llama-3.1-8b", 0, 32, 0),
    ],
)
def test_how_many_layers_have_a_window(name, windowed, full, window):
    kinds = load_model(name).kinds
    assert sum(kind.count for kind in kinds if kind.attention.window) == windowed
    assert sum(kind.count for kind in kinds if not kind.attention.window) == full
    assert max(kind.attention.window for kind in kinds) == window


@pytest.mark.parametrize(
    ("name", "dense", "sparse", "shared"),
    [
        ("deepseek-v3", 3, 58, 2048),
        ("glm-4.5", 3, 89, 1536),
        ("llama-4-maverick", 24, 24, 8192),
        ("qwen3-30b-a3b", 0, 48, 0),
    ],
)
def test_which_layers_have_experts(name, dense, sparse, shared):
    kinds = load_model(name).kinds
    assert sum(kind.count for kind in kinds if isinstance(kind.mlp, Experts)) == sparse
    assert sum(kind.count for kind in kinds if not isinstance(kind.mlp, Experts)) == dense
    assert {kind.mlp.shared_ffn for kind in kinds if isinstance(kind.mlp, Experts)} == {shared}


def test_layers_come_in_the_models_order():
    maverick = load_model("llama-4-maverick")
    sparse = [isinstance(maverick.kinds[index].mlp, Experts) for index in maverick.order]
    assert sparse == [False, True] * 24
    windows = [maverick.kinds[index].attention.window for index in maverick.order]
    assert windows == [8192, 8192, 8192, 0] * 12
    oss = load_model("gpt-oss-20b")
    assert [oss.kinds[index].attention.window for index in oss.order] == [128, 0] * 12
    assert isinstance(load_model("kimi-k2").kinds[0].attention, LatentAttention)


def test_explicit_head_width_wins_over_hidden_by_heads():
    attention = load_model("qwen3-32b").kinds[0].attention
    assert (attention.head_dim, 5120 // attention.heads) == (128, 80)


# Every model named in the measured serving data, by its Hugging Face repository.
@pytest.mark.parametrize(
    ("repository", "name"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("meta-llama/Llama-3.1-70B", "llama-3.1-70b"),
        ("meta-llama/Llama-3.1-70B-Instruct", "llama-3.1-70b"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3.1-70b"),
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", "llama-3.1-405b-fp8"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "llama-3.1-8b-fp8"),
        ("meta-llama/Llama-2-7b-hf", "llama-2-7b"),
        ("meta-llama/Llama-2-70b-hf", "llama-2-70b"),
        ("codellama/CodeLlama-34b-Instruct-hf", "codellama-34b"),
        ("mistralai/Mixtral-8x7B-v0.1", "mixtral-8x7b"),
        ("Qwen/Qwen3-8B", "qwen3-8b"),
        ("Qwen/Qwen3-14B", "qwen3-14b"),
        ("Qwen/Qwen3-32B", "qwen3-32b"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b-2507"),
        ("Qwen/Qwen3-30B-A3B-Thinking-2507", "qwen3-30b-a3b-2507"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3-30b-a3b-2507"),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507", "qwen3-235b-a22b-2507"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507", "qwen3-235b-a22b-2507"),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", "qwen3-235b-a22b-2507-fp8"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", "qwen3-235b-a22b-2507-fp8"),
        ("google/gemma-3-12b-it", "gemma-3-12b"),
        ("google/gemma-3-27b-it", "gemma-3-27b"),
        ("openai/gpt-oss-20b", "gpt-oss-20b"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama-4-scout"),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", "llama-4-maverick-fp8"),
        ("MiniMaxAI/MiniMax-M2.5", "minimax-m2.5"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-v3"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "llama-3.1-70b"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama-3-8b"),
        ("moonshotai/Kimi-K2.5", "kimi-k2-thinking"),
        ("nvidia/DeepSeek-V3.1-NVFP4", "deepseek-v3-nvfp4"),
    ],
)
def test_a_repository_names_its_shape(repository, name):
    assert known_name(repository) == name
    assert load_model(repository) == load_model(name)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(InputError, match=r"did you mean 'llama-3\.1-8b'"):
        load_model("llama-3.1-8B")
    with pytest.raises(InputError, match=r"did you mean 'Qwen/Qwen3-8B'"):
        load_model("Qwen/Qwen3-8b")
    assert known_name("no such model") is None


def test_the_documentation_lists_every_known_model():
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    documented = {row[0].strip("`"): row[1:] for row in rows if len(row) == 7}
    assert sorted(documented) == known_models()
    for name, (total, active, _, weights, kv, source) in documented.items():
        shape = describe_model(load_model(name))
        assert (total, active) == tuple(f"{shape[key] / 1e9:.1f}" for key in ("parameters", "active_parameters"))
        assert (weights, float(kv) * 1024) == (shape["weights"], shape["kv_bytes_per_token"])
        assert source == known_source(name)
