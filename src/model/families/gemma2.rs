//! Gemma 2: norms around mixer and feed-forward, capped attention scores and logits, a window in every other layer.

use serde_json::json;

use super::super::config::{Attention, Config, Error, Family, Fields, Norms, Rotation, windows::Windows};
use crate::graph::ops::Scores;

pub(super) const FAMILY: Family = Family {
    model_type: "gemma2",
    architecture: "Gemma2ForCausalLM",
    class: || {
        json!({
            "vocab_size": 256_000, "hidden_size": 2304, "num_hidden_layers": 26, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "intermediate_size": 9216, "max_position_embeddings": 8192,
            "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0, "sliding_window": 4096, "tie_word_embeddings": true, "bos_token_id": 2,
            "eos_token_id": 1, "pad_token_id": 0
        })
    },
    names: &[],
    read: |file, model| {
        let attention = attention(file, model, file.rotation()?)?;
        let sliding = (0..file.layers()?).map(|layer| layer % 2 == 0).collect();
        let windows = file.windows(Windows::Listed(sliding))?;
        model.layers = attention.layers(&windows, file.gated("hidden_activation")?, AROUND);
        Ok(())
    },
};

/// Norms before and behind mixer and feed-forward.
pub(super) const AROUND: Norms = [
    Some("input_layernorm"),
    Some("post_attention_layernorm"),
    Some("pre_feedforward_layernorm"),
    Some("post_feedforward_layernorm"),
];

/// The scales of Gemma: scores by a number of the file, embeddings by the root of their width, norms by `1 + w`.
pub(super) fn attention(file: &Fields<'_>, model: &mut Config, rotation: Rotation) -> Result<Attention, Error> {
    model.norm.offset = 1.0;
    model.embedding_scale = (model.hidden as f64).sqrt() as f32;
    model.final_softcap = file.cap("final_logit_softcapping")?;
    let attention = file.attention(rotation)?.biased(file.flag("attention_bias")?);
    let scale = (1.0 / file.number("query_pre_attn_scalar", 256.0, 1e-3..=1e9)?.sqrt()) as f32;
    let softcap = file.cap("attn_logit_softcapping")?;
    Ok(Attention { scores: Scores { scale, softcap, window: None }, ..attention })
}
