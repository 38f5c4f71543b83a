//! Llama 2 and 3.x, and what is shaped like them (SmolLM, SmolLM2): biases only where the file asks for them.

use super::{Defaults, Family, Switch};

pub(super) const FAMILY: Family = Family {
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    defaults: Defaults {
        vocab: 32_000,
        hidden: 4096,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_dim: None,
        ffn: 11_008,
        max_positions: 2048,
        bos: Some(1),
        eos: Some(2),
    },
    qk_norm: false,
    qkv_bias: Switch::Field("attention_bias"),
    out_bias: Switch::Field("attention_bias"),
    mlp_bias: Switch::Field("mlp_bias"),
};
