//! Qwen3, dense: query and key norms, a head size of its own, bias only where `attention_bias` asks for it.

use super::{Defaults, Family, Switch};

pub(super) const FAMILY: Family = Family {
    model_type: "qwen3",
    architecture: "Qwen3ForCausalLM",
    defaults: Defaults {
        vocab: 151_936,
        hidden: 4096,
        layers: 32,
        heads: 32,
        kv_heads: Some(32),
        head_dim: Some(128),
        ffn: 22_016,
        max_positions: 32_768,
        bos: None,
        eos: None,
    },
    qk_norm: true,
    qkv_bias: Switch::Field("attention_bias"),
    out_bias: Switch::Field("attention_bias"),
    mlp_bias: Switch::Never,
};
