//! Qwen3, dense: query and key norms, a head size of its own, bias only where `attention_bias` asks for it.

use serde_json::json;

use super::{
    super::config::{Attention, BEFORE, Family, QkNorm},
    qwen2::windows,
};

pub(super) const FAMILY: Family = Family {
    model_type: "qwen3",
    architecture: "Qwen3ForCausalLM",
    class: || {
        json!({
            "vocab_size": 151_936, "num_key_value_heads": 32, "head_dim": 128, "intermediate_size": 22_016,
            "max_position_embeddings": 32_768, "sliding_window": 4096, "max_window_layers": 28
        })
    },
    names: &[],
    read: |file, model| {
        let attention = Attention {
            qk_norm: QkNorm::Head,
            ..file.attention(file.rotation()?)?.biased(file.flag("attention_bias")?)
        };
        model.layers = attention.layers(&windows(file)?, file.gated("hidden_act")?, BEFORE);
        Ok(())
    },
};
