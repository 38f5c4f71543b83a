//! LFM2 and LFM2.5, dense: gated short convolutions in most layers, attention with query and key norms in the others.

use serde_json::{Value, json};

use super::super::config::{Attention, Error, Family, Fields, Gated, LayerSpec, Norms, QkNorm, ShortConv};

pub(super) const FAMILY: Family = Family {
    model_type: "lfm2",
    architecture: "Lfm2ForCausalLM",
    class: || {
        json!({
            "vocab_size": 65_536, "hidden_size": 2560, "num_key_value_heads": 8, "intermediate_size": 12_288,
            "max_position_embeddings": 128_000, "norm_eps": 1e-5, "conv_L_cache": 3, "block_multiple_of": 256,
            "block_ffn_dim_multiplier": 1.0, "block_auto_adjust_ff_dim": true, "rope_theta": 1e6,
            "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0
        })
    },
    names: &[
        ("norm", "embedding_norm"),
        ("conv.conv", "conv.conv"),
        ("conv.b_proj", "conv.in_proj"),
        ("conv.c_proj", "conv.in_proj"),
        ("conv.x_proj", "conv.in_proj"),
        ("self_attn.q_proj", "self_attn.q_proj"),
        ("self_attn.k_proj", "self_attn.k_proj"),
        ("self_attn.v_proj", "self_attn.v_proj"),
        ("self_attn.o_proj", "self_attn.out_proj"),
        ("self_attn.q_norm", "self_attn.q_layernorm"),
        ("self_attn.k_norm", "self_attn.k_layernorm"),
        ("conv.out_proj", "conv.out_proj"),
        ("mlp.gate_proj", "feed_forward.w1"),
        ("mlp.up_proj", "feed_forward.w3"),
        ("mlp.down_proj", "feed_forward.w2"),
    ],
    read: |file, model| {
        const NORMS: Norms = [Some("operator_norm"), None, Some("ffn_norm"), None];
        model.norm.eps = file.number("norm_eps", 1e-5, 1e-12..=0.1)? as f32;
        if file.get("tie_embedding").is_some() {
            model.tied = file.flag("tie_embedding")?;
        }
        let (taps, bias) = (file.size("conv_L_cache", 64)?, file.flag("conv_bias")?);
        let conv = ShortConv { width: model.hidden, taps, bias };
        let attention = Attention { qk_norm: QkNorm::Head, ..file.attention(file.rotation()?)? };
        let ffn = Gated { width: inner_width(file)?, ..file.gated("hidden_act")? };
        let layer = |attends| {
            let mixer = if attends { attention.clone().into() } else { conv.into() };
            LayerSpec { mixer, ffn, norms: NORMS }
        };
        model.layers = attending(file)?.into_iter().map(layer).collect();
        Ok(())
    },
};

/// The width inside the feed-forward: two thirds of what the file says, times a factor, up to a multiple, where it is to be
/// adjusted.
fn inner_width(file: &Fields<'_>) -> Result<usize, Error> {
    let older = file.get("block_ff_dim").map(|_| "block_ff_dim");
    let width = file.size(older.unwrap_or("intermediate_size"), 1 << 20)?;
    if !file.flag("block_auto_adjust_ff_dim")? {
        return Ok(width);
    }
    let factor = file.number("block_ffn_dim_multiplier", 1.0, 1e-3..=1e3)?;
    let scaled = (factor * (2 * width / 3) as f64) as usize;
    Ok(scaled.next_multiple_of(file.size("block_multiple_of", 1 << 20)?))
}

/// Which layers attend: by `layer_types`, or `full_attn_idxs` in older files.
fn attending(file: &Fields<'_>) -> Result<Vec<bool>, Error> {
    let layers = file.layers()?;
    if file.get("layer_types").is_none() {
        let listed = file.get("full_attn_idxs").and_then(Value::as_array);
        return Ok((0..layers).map(|i| listed.is_none_or(|listed| listed.contains(&i.into()))).collect());
    }
    let attends = |name: &Value| match name.as_str() {
        Some("full_attention") => Some(true),
        Some("conv") => Some(false),
        _ => None,
    };
    file.list("layer_types", layers, attends, || format!("a list of {layers} names, full_attention or conv"))
}
