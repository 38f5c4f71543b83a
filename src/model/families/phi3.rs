//! Phi-3 and Phi-4-mini: fused projections, heads of which only a part turns, rotary factors for long texts.

use serde_json::json;

use super::super::config::{BEFORE, Family, windows::Windows};

pub(super) const FAMILY: Family = Family {
    model_type: "phi3",
    architecture: "Phi3ForCausalLM",
    class: || {
        json!({
            "vocab_size": 32_064, "hidden_size": 3072, "intermediate_size": 8192, "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096, "partial_rotary_factor": 1.0, "rms_norm_eps": 1e-5,
            "bos_token_id": 1, "eos_token_id": 32_000, "pad_token_id": 32_000
        })
    },
    names: &[
        ("self_attn.o_proj", "self_attn.o_proj"),
        ("self_attn.q_proj", "self_attn.qkv_proj"),
        ("self_attn.k_proj", "self_attn.qkv_proj"),
        ("self_attn.v_proj", "self_attn.qkv_proj"),
        ("mlp.gate_proj", "mlp.gate_up_proj"),
        ("mlp.up_proj", "mlp.gate_up_proj"),
    ],
    read: |file, model| {
        model.layers = file.attention(file.rotation()?)?.layers(
            &file.windows(Windows::Every)?,
            file.gated("hidden_act")?,
            BEFORE,
        );
        Ok(())
    },
};
