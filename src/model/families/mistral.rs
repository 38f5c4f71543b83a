//! Mistral 7B and what is shaped like it: Llama's layers, a window over all of them where one is set.

use serde_json::json;

use super::super::config::{BEFORE, Family, windows::Windows};

pub(super) const FAMILY: Family = Family {
    model_type: "mistral",
    architecture: "MistralForCausalLM",
    class: || {
        json!({
            "num_key_value_heads": 8, "intermediate_size": 14_336, "max_position_embeddings": 131_072,
            "sliding_window": 4096, "bos_token_id": 1, "eos_token_id": 2
        })
    },
    names: &[],
    read: |file, model| {
        model.layers = file.attention(file.rotation()?)?.layers(
            &file.windows(Windows::Every)?,
            file.gated("hidden_act")?,
            BEFORE,
        );
        Ok(())
    },
};
