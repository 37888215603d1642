"""What each model family makes of its ``config.json``; facts as in transformers' configuration and modelling files."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from simulator.model.config import Config
from simulator.model.shape import Attention, Experts, LatentAttention, Mlp


class Layer(NamedTuple):
    """One layer as its family describes it."""

    attention: Attention | LatentAttention
    mlp: Mlp | Experts
    parallel: bool = False


@dataclass(frozen=True)
class Family:
    """How layers follow from a configuration, and what holds where the configuration is silent.

    ``qk_norm`` names the key that says whether queries and keys are normalised, or is the fact itself;
    ``norm_across_heads``: all heads of a layer at once, as MiniMax M2's ``qk_norm_type`` "per_layer" has it.
    """

    layer: Callable[[Config, int], Layer]
    tied: bool = False
    qk_norm: bool | str = False
    norm_across_heads: bool = False
    defaults: dict[str, int] = field(default_factory=dict)

    def normalizes_queries(self, config: Config) -> bool:
        """Tell whether queries and keys are normalised."""
        return bool(config.get(self.qk_norm)) if isinstance(self.qk_norm, str) else self.qk_norm

    def normalizes_across_heads(self, config: Config) -> bool:
        """Tell whether they are normalised over all heads of a layer at once, not head by head."""
        if not self.normalizes_queries(config) or not self.norm_across_heads:
            return False
        return bool(config.get("qk_norm_type", "per_layer") == "per_layer")


def _attention(config: Config, window: int = 0, kv_heads: int | None = None, heads: int | None = None) -> Attention:
    heads = heads or config.count("num_attention_heads")
    head_dim = config.count("head_dim", config.count("hidden_size") // heads)
    if window >= config.count("max_position_embeddings", window + 1):
        window = 0
    return Attention(heads, kv_heads or config.count("num_key_value_heads", heads), head_dim, head_dim, window)


def _gated(config: Config, layer: int) -> Layer:
    return Layer(_attention(config), Mlp(config.count("intermediate_size"), gated=True))


def _mistral(config: Config, layer: int) -> Layer:
    return _gated(config, layer)._replace(attention=_attention(config, config.optional("sliding_window")))


def _qwen_attention(config: Config, layer: int) -> Attention:
    slides = config.get("use_sliding_window") and layer >= config.optional("max_window_layers")
    return _attention(config, config.optional("sliding_window") if slides else 0)


def _qwen(config: Config, layer: int) -> Layer:
    return Layer(_qwen_attention(config, layer), Mlp(config.count("intermediate_size"), gated=True))


def _qwen_moe(config: Config, layer: int) -> Layer:
    dense = layer in (config.listed("mlp_only_layers") or ()) or (layer + 1) % config.count("decoder_sparse_step", 1)
    attention = _qwen_attention(config, layer)
    if dense:
        return Layer(attention, Mlp(config.count("intermediate_size"), gated=True))
    shared = config.optional("shared_expert_intermediate_size")
    return Layer(attention, _experts(config, config.count("moe_intermediate_size"), shared))


def _experts(config: Config, ffn: int, shared: int = 0) -> Experts:
    count, top_k = config.count("num_experts"), config.count("num_experts_per_tok")
    if top_k > count:
        raise config.error(f"num_experts_per_tok is {top_k}, more than the {count} experts")
    return Experts(count, top_k, ffn, gated=True, shared_ffn=shared)


def _mixtral(config: Config, layer: int) -> Layer:
    attention = _attention(config, config.optional("sliding_window"))
    shared = config.optional("shared_intermediate_size")
    return Layer(attention, _experts(config, config.count("intermediate_size"), shared))


def _slides(config: Config, layer: int, period: int, window: int) -> int:
    """Return the window of a layer: ``layer_types`` says which slide, else all but each ``period``-th do."""
    types = config.entries("layer_types")
    full = types[layer] == "full_attention" if types else (layer + 1) % period == 0
    return 0 if full else window


def _gemma2(config: Config, layer: int) -> Layer:
    window = _slides(config, layer, 2, config.count("sliding_window", 4096))
    return _gated(config, layer)._replace(attention=_attention(config, window))


def _gemma3(config: Config, layer: int) -> Layer:
    period = config.count("sliding_window_pattern", 6)
    # Checkpoints leave these out where they are the defaults of transformers' Gemma3TextConfig.
    window = _slides(config, layer, period, config.count("sliding_window", 4096))
    window = 0 if window >= config.count("max_position_embeddings", 131072) else window
    head_dim = config.count("head_dim", 256)
    heads, kv_heads = config.count("num_attention_heads", 8), config.count("num_key_value_heads", 4)
    return Layer(
        Attention(heads, kv_heads, head_dim, head_dim, window), Mlp(config.count("intermediate_size"), gated=True)
    )


def _gpt_oss(config: Config, layer: int) -> Layer:
    window = _slides(config, layer, 2, config.count("sliding_window"))
    return Layer(_attention(config, window), _experts(config, config.count("intermediate_size")))


def _llama4(config: Config, layer: int) -> Layer:
    rotary = config.entries("no_rope_layers")
    types = config.entries("layer_types")
    if types:
        chunked = types[layer] == "chunked_attention"
    else:
        # The key's 1 means that the layer has rotary positions, which are the chunked ones.
        chunked = bool(rotary[layer]) if rotary else (layer + 1) % config.count("no_rope_layer_interval", 4) != 0
    attention = _attention(config, config.optional("attention_chunk_size") if chunked else 0)
    sparse = config.listed("moe_layers")
    step = config.count("interleave_moe_layer_step", 1)
    if layer in sparse if sparse is not None else (layer + 1) % step == 0:
        ffn = config.count("intermediate_size")
        return Layer(attention, _experts(config, ffn, shared=ffn))
    return Layer(attention, Mlp(config.count("intermediate_size_mlp"), gated=True))


def _deepseek(config: Config, layer: int) -> Layer:
    attention = LatentAttention(
        heads=config.count("num_attention_heads"),
        q_lora_rank=config.optional("q_lora_rank"),
        kv_lora_rank=config.count("kv_lora_rank"),
        nope_dim=config.count("qk_nope_head_dim"),
        rope_dim=config.count("qk_rope_head_dim"),
        value_dim=config.count("v_head_dim"),
    )
    if layer < config.optional("first_k_dense_replace") or layer % config.count("moe_layer_freq", 1):
        return Layer(attention, Mlp(config.count("intermediate_size"), gated=True))
    ffn = config.count("moe_intermediate_size")
    return Layer(attention, _experts(config, ffn, shared=ffn * config.optional("n_shared_experts")))


def _glm_moe(config: Config, layer: int) -> Layer:
    if layer < config.optional("first_k_dense_replace"):
        return _gated(config, layer)
    ffn = config.count("moe_intermediate_size")
    return Layer(_attention(config), _experts(config, ffn, shared=ffn * config.optional("n_shared_experts")))


def _plain(config: Config, layer: int) -> Layer:
    width = config.get("word_embed_proj_dim", config.get("hidden_size"))
    if width != config.get("hidden_size"):
        raise config.error(f"word_embed_proj_dim {width} other than hidden_size is not modelled")
    return Layer(_attention(config), _four_times(config))


def _four_times(config: Config) -> Mlp:
    return Mlp(config.count("intermediate_size", 4 * config.count("hidden_size")), gated=False)


def _opt(config: Config, layer: int) -> Layer:
    return _plain(config, layer)._replace(mlp=Mlp(config.count("ffn_dim"), gated=False))


def _gpt_j(config: Config, layer: int) -> Layer:
    return _plain(config, layer)._replace(parallel=True)


def _gpt_neox(config: Config, layer: int) -> Layer:
    return _plain(config, layer)._replace(parallel=bool(config.get("use_parallel_residual", True)))


def _falcon(config: Config, layer: int) -> Layer:
    heads = config.count("num_attention_heads")
    if config.get("new_decoder_architecture"):
        kv_heads, parallel = config.count("num_key_value_heads", heads), True
    else:
        kv_heads, parallel = 1 if config.get("multi_query", True) else heads, bool(config.get("parallel_attn", True))
    return Layer(_attention(config, kv_heads=kv_heads), _four_times(config), parallel)


_DEEPSEEK = Family(_deepseek)
_GEMMA3 = Family(_gemma3, tied=True, qk_norm=True, defaults={"vocab_size": 262208, "max_position_embeddings": 131072})
_LLAMA4 = Family(_llama4, qk_norm="use_qk_norm")
_TWO_THOUSAND = {"max_position_embeddings": 2048}

# By ``model_type``; a multimodal model's is that of its ``text_config``.
FAMILIES: dict[str, Family] = {
    "llama": Family(_gated),
    "mistral": Family(_mistral),
    "phi3": Family(_mistral),
    "granite": Family(_gated),
    "qwen2": Family(_qwen),
    "qwen3": Family(_qwen, qk_norm=True),
    "gemma": Family(_gated, tied=True),
    "gemma2": Family(_gemma2, tied=True),
    "gemma3_text": _GEMMA3,
    "mixtral": Family(_mixtral),
    "minimax_m2": Family(_mixtral, qk_norm="use_qk_norm", norm_across_heads=True),
    "qwen2_moe": Family(_qwen_moe),
    "qwen3_moe": Family(_qwen_moe, qk_norm=True),
    "glm4_moe": Family(_glm_moe, qk_norm="use_qk_norm"),
    "gpt_oss": Family(_gpt_oss),
    "llama4_text": _LLAMA4,
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "kimi_k2": _DEEPSEEK,
    "opt": Family(_opt, tied=True),
    "gpt2": Family(_plain, tied=True),
    "gptj": Family(_gpt_j),
    "gpt_neox": Family(_gpt_neox),
    "bloom": Family(_plain, tied=True, defaults=_TWO_THOUSAND),
    "falcon": Family(_falcon, tied=True, defaults=_TWO_THOUSAND),
}
