"""Names in measured files: whichever way a checkpoint or a GPU is written, the same one is meant, or none at all."""

import pytest

from simulator.experiment.validation.known_names import NotCovered, checkpoint_named, default_sampling, hardware_named


@pytest.mark.parametrize(
    ("name", "model", "quantization"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b", None),
        (" meta-llama/Llama-3.1-8B-Instruct ", "llama-3.1-8b", None),
        ("LLAMA3.1_8B", "llama-3.1-8b", None),
        ("meta-llama-Llama-3.1-8B-Instruct", "llama-3.1-8b", None),
        ("/models/Llama-3.1-8B-Instruct/", "llama-3.1-8b", None),
        ("models--meta-llama--Llama-3.1-8B", "llama-3.1-8b", None),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama-3-8b", None),
        ("unsloth/Llama-3.3-70B-Instruct", "llama-3.1-70b", None),
        ("mistralai/Mixtral-8x22B-Instruct-v0.1", "mixtral-8x22b", None),
        ("nvidia/Mixtral-8x7B-Instruct-v0.1-FP8", "mixtral-8x7b", "fp8"),
        ("nvidia/Llama-4-Scout-17B-16E-Instruct-FP8", "llama-4-scout", "fp8"),
        ("GPT-OSS-120B", "gpt-oss-120b", None),
        # Whose FP8 it is says what it is: NVIDIA's has an FP8 KV cache, Qwen's is in blocks, others are by tensor.
        ("nvidia/Llama-3.3-70B-Instruct-FP8", "llama-3.1-70b-fp8", None),
        ("amd/Llama-3.3-70B-Instruct-FP8-KV", "llama-3.1-70b-fp8", None),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "llama-3.1-70b", "fp8"),
        ("Qwen/Qwen3-8B-FP8", "qwen3-8b-fp8", None),
        ("nvidia/Qwen3-8B-FP8", "qwen3-8b", "fp8"),
        ("nvidia/Qwen3-30B-A3B-FP4", "qwen3-30b-a3b", "nvfp4"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "llama-3.1-8b", "w4a16"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "llama-3.1-8b", "int8"),
        ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", "llama-3.1-70b", "awq"),
        ("moonshotai/Kimi-K2-Instruct-0905", "kimi-k2", None),
        ("moonshotai/Kimi-K2-Thinking", "kimi-k2-thinking", None),
        ("nvidia/DeepSeek-R1-0528-FP4", "deepseek-r1-nvfp4", None),
        ("nvidia/DeepSeek-R1-0528-FP4-V2", "deepseek-v3-nvfp4", None),
    ],
)
def test_a_checkpoint_is_found_by_any_of_its_names(name, model, quantization):
    assert checkpoint_named(name) == (model, quantization)


@pytest.mark.parametrize(
    ("name", "precision", "model", "quantization"),
    [
        ("Qwen/Qwen3-32B", "bfloat16", "qwen3-32b", None),
        ("Qwen/Qwen3-32B", "fp8", "qwen3-32b-fp8", None),
        ("Qwen/Qwen3-32B", "FP8-Block", "qwen3-32b-fp8", None),
        ("Qwen/Qwen2.5-72B-Instruct", "fp8_static", "qwen2.5-72b", "fp8"),
        ("meta-llama/Llama-3.1-8B-Instruct", "fp8_block", "llama-3.1-8b", "fp8_block"),
        ("meta-llama/Llama-3.1-8B-Instruct", "int4_wo", "llama-3.1-8b", "w4a16"),
        ("meta-llama/Llama-3.1-8B-Instruct", "modelopt", "llama-3.1-8b", None),
        ("openai/gpt-oss-120b", "fp4", "gpt-oss-120b", None),
        ("openai/gpt-oss-120b", "w4a16_mxfp4", "gpt-oss-120b", None),
        ("openai/gpt-oss-120b", "fp8", "gpt-oss-120b", None),
        ("deepseek-ai/DeepSeek-R1-0528", "fp8", "deepseek-v3", None),
        ("deepseek-ai/DeepSeek-R1", "fp4", "deepseek-v3-nvfp4", None),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "bfloat16", "llama-3.1-8b-fp8", None),
    ],
)
def test_a_column_says_the_precision_where_the_name_does_not(name, precision, model, quantization):
    assert checkpoint_named(name, precision) == (model, quantization)


@pytest.mark.parametrize(
    ("name", "precision", "reason"),
    [
        ("nvidia/Kimi-K2-Instruct-FP4", "", "known in fp8_block, not in nvfp4"),
        ("moonshotai/Kimi-K2-Instruct", "nvfp4", "known in fp8_block, not in nvfp4"),
        ("unsloth/gpt-oss-120b-BF16", "", "known in mxfp4, not in bfloat16"),
        ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", "", "is not known"),
        ("deepseek-ai/DeepSeek-V3.2-Exp", "", "is not known"),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", "", "is not known"),
        ("mistralai/Mistral-7B-Instruct-v0.2", "", "is not known"),
        ("nvidia/gpt-oss-120b-Eagle3", "", "is not known"),
        ("", "", "is not known"),
    ],
)
def test_another_checkpoint_is_not_taken_for_a_known_one(name, precision, reason):
    with pytest.raises(NotCovered, match=reason):
        checkpoint_named(name, precision)


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("NVIDIA H100 80GB HBM3", "h100_sxm"),
        ("H100-SXM5-80GB", "h100_sxm"),
        ("NVIDIA H200", "h200_sxm"),
        ("NVIDIA A100-SXM4-80GB", "a100_sxm"),
        ("DGX-H100", "h100_sxm"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx_4090"),
        ("RTX4090_Llama-3.1-8B", "rtx_4090"),
        ("rtx_pro_6000_server", "rtx_pro_6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtx_pro_6000"),
    ],
)
def test_a_gpu_is_found_by_any_of_its_names(name, profile):
    assert hardware_named(name) == profile


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA H100 PCIe", "NVIDIA H100 NVL", "NVIDIA A100 80GB PCIe", "NVIDIA A100-SXM4-40GB", "NVIDIA GH200 480GB",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA GeForce RTX 4090 D", "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "NVIDIA H20", "NVIDIA L4", "",
    ],
)  # fmt: skip
def test_a_gpu_with_other_memory_clocks_or_links_is_not_taken_for_a_known_one(name):
    with pytest.raises(NotCovered, match="no hardware profile"):
        hardware_named(name)


def test_who_asks_for_top_p():
    assert [default_sampling(model) for model in ("qwen3-8b", "deepseek-v3", "mixtral-8x7b")] == [
        "top_p",
        "top_p",
        "random",
    ]
