"""The tiny random models: their configurations, their weights, and a copy of each that computes in float64."""

import copy
import json
import types

import numpy as np
import torch
from transformers import (
    AttentionInterface, AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, Lfm2Config, LlamaConfig, MistralConfig,
    Olmo2Config, Phi3Config, Qwen2Config, Qwen3Config, SmolLM3Config,
)
from transformers.masking_utils import AttentionMaskInterface, eager_mask

COMMON = dict(num_hidden_layers=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, attention_dropout=0.0)


def rope(theta, **scaling):
    return {"rope_type": "default", "rope_theta": theta, **scaling}


# Their padding token is none: transformers would keep its embedding from learning.
GEMMA = dict(**COMMON, pad_token_id=None, tie_word_embeddings=True, layer_types=["sliding_attention", "full_attention"])


def gemma2(vocab, **changes):
    return Gemma2Config(**dict(
        **GEMMA, vocab_size=vocab, hidden_size=28, intermediate_size=40, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, query_pre_attn_scalar=10, rms_norm_eps=1e-5, sliding_window=9, attn_logit_softcapping=2.0,
        rope_parameters=rope(1000.0),
    ) | dict(final_logit_softcapping=3.0) | changes)


def lfm2(vocab, **changes):
    """F is int(2 * 60 / 3) rounded up to 48."""
    return Lfm2Config(**dict(
        COMMON, num_hidden_layers=3, pad_token_id=None, vocab_size=vocab, hidden_size=32, intermediate_size=60,
        block_multiple_of=16, num_attention_heads=4, num_key_value_heads=2, norm_eps=1e-3,
        layer_types=["conv", "full_attention", "conv"], rope_parameters=rope(1000.0), tie_word_embeddings=True,
    ) | changes)


# Windows are shorter than two of the three documents; documents of `phi3` lie on both sides of its 16 positions; caps are
# low enough to bend. Two families have an rms_norm_eps large enough that a wrong one shows. The `llama3` wavelengths (6.3, 30, 140, 664)
# fall into all three ranges of its scaling: kept below 8, blended, stretched above 32.
FAMILIES = {
    "qwen3": Qwen3Config(
        **COMMON, vocab_size=113, hidden_size=32, intermediate_size=52, num_attention_heads=4, num_key_value_heads=2,
        head_dim=12, rms_norm_eps=1e-6, tie_word_embeddings=True, rope_parameters=rope(1e6),
    ),
    "qwen3_untied": Qwen3Config(
        **COMMON, vocab_size=113, hidden_size=40, intermediate_size=44, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, rms_norm_eps=1e-3, tie_word_embeddings=False, rope_parameters=rope(1e6),
    ),
    "qwen2": Qwen2Config(
        **COMMON, vocab_size=101, hidden_size=40, intermediate_size=44, num_attention_heads=5, num_key_value_heads=1,
        rms_norm_eps=1e-6, tie_word_embeddings=True, rope_parameters=rope(1e6),
    ),
    "llama3": LlamaConfig(
        **COMMON, vocab_size=120, hidden_size=32, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2,
        rms_norm_eps=1e-5, tie_word_embeddings=False, rope_parameters=rope(
            500.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=32,
        ),
    ),
    "llama_bias": LlamaConfig(
        **COMMON, vocab_size=97, hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=4,
        rms_norm_eps=1e-2, tie_word_embeddings=False, attention_bias=True, mlp_bias=True, rope_parameters=rope(10000.0),
    ),
    "smollm2": LlamaConfig(
        **COMMON, vocab_size=131, hidden_size=36, intermediate_size=72, num_attention_heads=3, num_key_value_heads=1,
        rms_norm_eps=1e-5, tie_word_embeddings=True, rope_parameters=rope(100000.0),
    ),
    "mistral": MistralConfig(
        **COMMON, vocab_size=89, hidden_size=32, intermediate_size=44, num_attention_heads=4, num_key_value_heads=2,
        head_dim=12, rms_norm_eps=1e-5, tie_word_embeddings=False, sliding_window=7, rope_parameters=rope(1000.0),
    ),
    "gemma3": Gemma3TextConfig(
        **GEMMA, vocab_size=103, hidden_size=32, intermediate_size=40, num_attention_heads=4, num_key_value_heads=2,
        head_dim=12, query_pre_attn_scalar=20, rms_norm_eps=1e-4, sliding_window=6, rope_parameters={
            "sliding_attention": rope(50.0), "full_attention": rope(1000.0, rope_type="linear", factor=4.0),
        },
    ),
    "phi3": Phi3Config(
        **COMMON, vocab_size=85, hidden_size=32, intermediate_size=40, num_attention_heads=4, num_key_value_heads=2,
        rms_norm_eps=1e-5, tie_word_embeddings=True, pad_token_id=None, original_max_position_embeddings=16,
        rope_parameters=rope(
            1000.0, rope_type="longrope", partial_rotary_factor=0.75, short_factor=[1.0, 1.125, 1.5],
            long_factor=[1.25, 2.5, 9.0],
        ),
    ),
    "olmo2": Olmo2Config(
        **COMMON, vocab_size=91, hidden_size=32, intermediate_size=44, num_attention_heads=4, num_key_value_heads=2,
        rms_norm_eps=1e-3, tie_word_embeddings=False, pad_token_id=None, rope_parameters=rope(10000.0),
    ),
    "gemma2": gemma2(83),
    "gemma2_uncapped": gemma2(79, final_logit_softcapping=None),
    # Its second layer has no positions, and a window.
    "smollm3": SmolLM3Config(
        **COMMON, vocab_size=93, hidden_size=32, intermediate_size=44, num_attention_heads=4, num_key_value_heads=2,
        rms_norm_eps=1e-5, tie_word_embeddings=True, pad_token_id=None, no_rope_layer_interval=2,
        use_sliding_window=True, sliding_window=8, rope_parameters=rope(1000.0),
    ),
    "lfm2": lfm2(87),
    "lfm2_bias": lfm2(73, conv_bias=True, conv_L_cache=4, block_auto_adjust_ff_dim=False),
}

# Weak partners for weak-driven training of `qwen3`; `qwen3` itself is the weak one of `qwen3_untied`.
WEAK = {
    "mix_same": FAMILIES["qwen3"],
    "mix_smaller": Qwen3Config(
        **{**COMMON, "num_hidden_layers": 1}, vocab_size=113, hidden_size=20, intermediate_size=28,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, rms_norm_eps=1e-6, tie_word_embeddings=False,
        rope_parameters=rope(1e6),
    ),
}


def build(config, seed):
    """A float32 model whose norms are not 1, biases not 0 and attention not uniform."""
    config = copy.deepcopy(config)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(draw(rng, name, tuple(parameter.shape), config)))
    return model


def draw(rng, name, shape, config):
    normal = rng.standard_normal(shape)
    if name.endswith("norm.weight"):
        return 0.3 * normal + (not config.model_type.startswith("gemma"))  # Gemma adds its 1 in the norm
    if name.endswith(".bias"):
        return 0.3 * normal
    if name.endswith("embed_tokens.weight"):
        return (2.0 / config.hidden_size**0.5 if config.tie_word_embeddings else 0.5) * normal
    gain = {
        "q_proj": 1.4, "k_proj": 1.4, "gate_proj": 1.5, "lm_head": 2.0, "qkv_proj": 1.3, "gate_up_proj": 1.3,
    }.get(name.split(".")[-2], 1.0)
    return gain / shape[1] ** 0.5 * normal


def in_float64(model):
    """A copy that computes in float64; only the rotary tables stay float32, as they are part of the model."""
    model = copy.deepcopy(model).double()
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            norm = gemma_norm if type(module).__name__.startswith("Gemma") else rms_norm
            module.forward = types.MethodType(norm, module)  # transformers' own narrows to float32
    if model.config._attn_implementation == "eager":  # as does its softmax
        model.config._attn_implementation = "float64"
    return model


def rms_norm(self, x):
    return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)


def gemma_norm(self, x):
    return (1.0 + self.weight) * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


def attention(module, query, key, value, mask, scaling, softcap=None, **_):
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(2, 3) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    weights = torch.softmax(scores + mask, -1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


AttentionInterface.register("float64", attention)
AttentionMaskInterface.register("float64", eager_mask)


def old_form(config, type_key="rope_type"):
    """config.json as transformers 4 wrote it: rope_theta at the top, rope_scaling, torch_dtype, no layer_types."""
    old = {k: v for k, v in json.loads(config.to_json_string()).items() if k not in ("layer_types", "dtype")}
    parameters = dict(old.pop("rope_parameters"))
    if "full_attention" in parameters:
        old["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
        old["sliding_window_pattern"] = len(config.layer_types)
        parameters = dict(parameters["full_attention"])
    if config.model_type == "phi3":
        old["partial_rotary_factor"] = parameters.pop("partial_rotary_factor")
        parameters.pop("original_max_position_embeddings")  # it stands outside
    old["rope_theta"] = parameters.pop("rope_theta")
    kind = parameters.pop("rope_type")
    old["rope_scaling"] = None if kind == "default" else {**parameters, type_key: kind}
    if config.model_type == "lfm2":
        old["full_attn_idxs"] = [i for i, kind in enumerate(config.layer_types) if kind == "full_attention"]
        old["block_ff_dim"] = old.pop("intermediate_size")
        old["tie_embedding"] = old.pop("tie_word_embeddings")
    if config.model_type in ("qwen2", "llama"):
        old.pop("head_dim", None)
    if config.model_type.startswith("qwen"):
        old["sliding_window"] = 32768  # present but switched off by use_sliding_window, as in the published folders
    old["torch_dtype"] = "float32"
    old["transformers_version"] = "4.51.0"
    return dict(sorted(old.items()))
