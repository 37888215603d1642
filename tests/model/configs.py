"""Small configurations of every family."""

from simulator.model import Transformer


def config(**changes):
    """Return a small Llama's ``config.json`` with changes; None takes a key out."""
    base = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 1000, "max_position_embeddings": 512,
    }  # fmt: skip
    base |= changes
    return {key: value for key, value in base.items() if value is not None}


def model(**changes):
    return Transformer.from_config("small", config(**changes), where="config.json")


MIXTRAL = {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}
QWEN_MOE = {"model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
DEEPSEEK = {
    "model_type": "deepseek_v3", "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "n_shared_experts": 1, "first_k_dense_replace": 1, "q_lora_rank": 48, "kv_lora_rank": 16, "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4, "v_head_dim": 8,
}  # fmt: skip
LLAMA4 = {
    "model_type": "llama4_text", "num_hidden_layers": 8, "num_local_experts": 4, "num_experts_per_tok": 1,
    "intermediate_size_mlp": 256, "interleave_moe_layer_step": 2, "attention_chunk_size": 64, "use_qk_norm": True,
}  # fmt: skip
