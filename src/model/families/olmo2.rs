//! OLMo-2: norms only behind mixer and feed-forward, and on the whole width of queries and keys.

use serde_json::json;

use super::super::config::{Attention, Family, QkNorm, windows::Windows};

pub(super) const FAMILY: Family = Family {
    model_type: "olmo2",
    architecture: "Olmo2ForCausalLM",
    class: || json!({ "vocab_size": 50_304, "rms_norm_eps": 1e-5, "eos_token_id": 50_279, "pad_token_id": 1 }),
    names: &[],
    read: |file, model| {
        let attention = Attention {
            qk_norm: QkNorm::Width,
            ..file.attention(file.rotation()?)?.biased(file.flag("attention_bias")?)
        };
        let norms = [None, Some("post_attention_layernorm"), None, Some("post_feedforward_layernorm")];
        model.layers = attention.layers(&file.windows(Windows::Never)?, file.gated("hidden_act")?, norms);
        Ok(())
    },
};
