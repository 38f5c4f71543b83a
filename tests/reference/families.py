"""The tiny random models: their configurations, their weights, and a copy of each that computes in float64."""

import copy
import json
import types

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

COMMON = dict(num_hidden_layers=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, attention_dropout=0.0)


def rope(theta, **scaling):
    return {"rope_type": "default", "rope_theta": theta, **scaling}


# Two families have an rms_norm_eps large enough that a wrong one shows. The `llama3` wavelengths (6.3, 30, 140, 664)
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
        return 1.0 + 0.3 * normal
    if name.endswith(".bias"):
        return 0.3 * normal
    if name.endswith("embed_tokens.weight"):
        return (2.0 / config.hidden_size**0.5 if config.tie_word_embeddings else 0.5) * normal
    gain = {"q_proj": 1.4, "k_proj": 1.4, "gate_proj": 1.5, "lm_head": 2.0}.get(name.split(".")[-2], 1.0)
    return gain / shape[1] ** 0.5 * normal


def in_float64(model):
    """A copy that computes in float64; only the rotary tables stay float32, as they are part of the model."""
    model = copy.deepcopy(model).double()
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = types.MethodType(rms_norm, module)  # transformers' own narrows to float32
    return model


def rms_norm(self, x):
    return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)


def old_form(config, type_key="rope_type"):
    """config.json as transformers 4 wrote it: rope_theta at the top, rope_scaling, torch_dtype, no layer_types."""
    old = {k: v for k, v in json.loads(config.to_json_string()).items() if k not in ("layer_types", "dtype")}
    parameters = dict(old.pop("rope_parameters"))
    old["rope_theta"] = parameters.pop("rope_theta")
    kind = parameters.pop("rope_type")
    old["rope_scaling"] = None if kind == "default" else {**parameters, type_key: kind}
    if config.model_type != "qwen3":
        old.pop("head_dim", None)
    if config.model_type.startswith("qwen"):
        old["sliding_window"] = 32768  # present but switched off by use_sliding_window, as in the published folders
    old["torch_dtype"] = "float32"
    old["transformers_version"] = "4.51.0"
    return dict(sorted(old.items()))
