//! Gemma 3, the text model (1B, or the text part of the larger ones on its own): norms around mixer and feed-forward, five
//! layers with a window and a short rotary base to one that sees everything.

use serde_json::json;

use super::{
    super::config::{Attention, Family, LayerSpec, QkNorm, windows::Windows},
    gemma2::{AROUND, attention},
};
use crate::graph::ops::Scores;

pub(super) const FAMILY: Family = Family {
    model_type: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    class: || {
        json!({
            "vocab_size": 262_208, "hidden_size": 2304, "num_hidden_layers": 26, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "intermediate_size": 9216, "max_position_embeddings": 131_072,
            "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256, "rope_theta": 1e6,
            "rope_local_base_freq": 1e4, "sliding_window": 4096, "_sliding_window_pattern": 6,
            "tie_word_embeddings": true, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0
        })
    },
    names: &[],
    read: |file, model| {
        let [full, local] = file.rotations()?;
        let attention = attention(file, model, full)?;
        let older = file.get("sliding_window_pattern").map(|_| "sliding_window_pattern");
        let every = file.size(older.unwrap_or("_sliding_window_pattern"), 1 << 10)?;
        let sliding = (0..file.layers()?).map(|layer| (layer + 1) % every != 0).collect();
        let ffn = file.gated("hidden_activation")?;
        let layer = |window: Option<usize>| {
            let rotation = window.map(|_| local.clone()).or(attention.rotation.clone());
            let scores = Scores { window, ..attention.scores };
            let mixer = Attention { rotation, scores, qk_norm: QkNorm::Head, ..attention.clone() };
            LayerSpec { mixer: mixer.into(), ffn, norms: AROUND }
        };
        model.layers = file.windows(Windows::Listed(sliding))?.into_iter().map(layer).collect();
        Ok(())
    },
};
