//! What a file asks for that is not supported: refused by name, with the reason.

use serde_json::{Map, Value};

use super::fields::{Error, Fields};

const EXPERTS: &str = "mixture-of-experts layers are not supported";
const IMAGES: &str = "models that see images are not supported";
const LINEAR: &str = "layers of linear or recurrent attention are not supported";

/// Fields whose presence means another architecture than the one `model_type` names.
const FOREIGN: &[(&str, &str)] = &[
    ("vision_config", IMAGES),
    ("audio_config", "models that hear are not supported"),
    ("num_experts", EXPERTS),
    ("num_local_experts", EXPERTS),
    ("n_routed_experts", EXPERTS),
];

/// Well-known types of models that are not supported, and why not.
const TYPES: &[(&str, &str)] = &[
    ("deepseek_v3", EXPERTS),
    ("gemma3", "models that see images are not supported; its text part alone (`model_type` gemma3_text) is"),
    ("gemma4", IMAGES),
    ("gpt2", "learned positions and layer norms are not supported"),
    ("gpt_oss", EXPERTS),
    ("mimo", "layers that predict several tokens at once are not supported"),
    ("mixtral", EXPERTS),
    ("nemotron_h", LINEAR),
    ("olmo3", "positions that only some layers stretch are not supported"),
    ("phimoe", EXPERTS),
    ("qwen3_5", LINEAR),
    ("qwen3_5_moe", EXPERTS),
    ("qwen3_moe", EXPERTS),
    ("qwen3_vl", IMAGES),
];

/// Fields of a `generation_config.json`.
const GENERATION: &[&str] = &["do_sample", "temperature", "top_k", "top_p", "max_new_tokens", "_from_model_config"];

/// Why a file of no known family cannot be used, as the end of a sentence; empty if that is not known.
pub(super) fn reason(map: &Map<String, Value>) -> String {
    let model_type = map.get("model_type").and_then(Value::as_str);
    let by_type = TYPES.iter().find(|(name, _)| Some(*name) == model_type);
    let by_field = || FOREIGN.iter().find(|(field, _)| map.get(*field).is_some_and(|value| !value.is_null()));
    match by_type.or_else(by_field) {
        Some((_, why)) => format!(": {why}"),
        None if model_type.is_none() && GENERATION.iter().any(|field| map.contains_key(*field)) => {
            ": this is a generation_config.json, which says how to write text; the model is in config.json".into()
        }
        None => String::new(),
    }
}

/// Refuses what layers cannot compute.
pub(super) fn check(fields: &Fields<'_>) -> Result<(), Error> {
    for (field, reason) in FOREIGN {
        if let Some(value) = fields.get(field) {
            return Err(fields.unsupported(field, value, reason));
        }
    }
    // What a field must be, where it is given.
    let wanted: &[(&str, Value, &str)] = &[
        ("pretraining_tp", 1.into(), "only 1 (unsplit projections)"),
        ("attention_dropout", 0.0.into(), "set it to 0"),
        ("resid_pdrop", 0.0.into(), "set it to 0"),
        ("embd_pdrop", 0.0.into(), "set it to 0"),
        ("use_mrope", false.into(), "multimodal positions are not supported"),
        ("use_bidirectional_attention", false.into(), "tokens that see later ones are not supported"),
    ];
    for (field, want, reason) in wanted {
        if let Some(value) = fields.get(field)
            && value != want
            && (value.as_f64().is_none() || value.as_f64() != want.as_f64())
        {
            return Err(fields.unsupported(field, value, reason));
        }
    }
    if fields.class("attn_logit_softcapping").is_none()
        && let Some(value) = fields.given("attn_logit_softcapping")
    {
        return Err(fields.unsupported("attn_logit_softcapping", value, "models of this type do not cap scores"));
    }
    Ok(())
}
