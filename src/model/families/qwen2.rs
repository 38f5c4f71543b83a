//! Qwen2 and Qwen2.5, dense: bias on query, key and value always, nowhere else.

use serde_json::json;

use super::super::config::{Attention, BEFORE, Error, Family, Fields, windows::Windows};

pub(super) const FAMILY: Family = Family {
    model_type: "qwen2",
    architecture: "Qwen2ForCausalLM",
    class: || {
        json!({
            "vocab_size": 151_936, "num_key_value_heads": 32, "intermediate_size": 22_016,
            "max_position_embeddings": 32_768, "sliding_window": 4096, "max_window_layers": 28
        })
    },
    names: &[],
    read: |file, model| {
        let attention = Attention { qkv_bias: true, ..file.attention(file.rotation()?)? };
        model.layers = attention.layers(&windows(file)?, file.gated("hidden_act")?, BEFORE);
        Ok(())
    },
};

/// Layers from `max_window_layers` on have a window where windows are used.
pub(super) fn windows(file: &Fields<'_>) -> Result<Vec<Option<usize>>, Error> {
    let first = file.count("max_window_layers")?;
    file.windows(Windows::Switched((0..file.layers()?).map(|layer| layer >= first).collect()))
}
