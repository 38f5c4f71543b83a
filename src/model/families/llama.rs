//! Llama 2 and 3.x, and what is shaped like them (SmolLM, SmolLM2): biases only where the file asks for them.

use serde_json::json;

use super::super::config::{BEFORE, Family, Gated, windows::Windows};

pub(super) const FAMILY: Family = Family {
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    class: || json!({ "bos_token_id": 1, "eos_token_id": 2 }),
    names: &[],
    read: |file, model| {
        let attention = file.attention(file.rotation()?)?.biased(file.flag("attention_bias")?);
        let ffn = Gated { bias: file.flag("mlp_bias")?, ..file.gated("hidden_act")? };
        model.layers = attention.layers(&file.windows(Windows::Never)?, ffn, BEFORE);
        Ok(())
    },
};
