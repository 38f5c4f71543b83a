//! Qwen2 and Qwen2.5, dense: bias on query, key and value always, nowhere else.

use super::{Defaults, Family, Switch};

pub(super) const FAMILY: Family = Family {
    model_type: "qwen2",
    architecture: "Qwen2ForCausalLM",
    defaults: Defaults {
        vocab: 151_936,
        hidden: 4096,
        layers: 32,
        heads: 32,
        kv_heads: Some(32),
        head_dim: None,
        ffn: 22_016,
        max_positions: 32_768,
        bos: None,
        eos: None,
    },
    qk_norm: false,
    qkv_bias: Switch::Always,
    out_bias: Switch::Never,
    mlp_bias: Switch::Never,
};
