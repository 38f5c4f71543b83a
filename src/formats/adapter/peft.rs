//! PEFT's `adapter_config.json` and its names of tensors.

use serde_json::{Map, Value, json};

use super::super::error::Error;
use super::config::{AdapterConfig, PREFIX, Part};
use super::fields::Fields;

/// PEFT's tensors.
pub(in super::super) const TENSORS: &str = "adapter_model.safetensors";
/// Every linear module of the blocks.
const ALL: &str = "all-linear";
/// What is read, and what does not touch the numbers of a trained adapter. Anything else must be unset.
const KNOWN: &str = "alpha_pattern bias init_lora_weights layers_to_transform lora_alpha lora_dropout modules_to_save r \
    rank_pattern target_modules use_dora use_rslora \
    auto_mapping base_model_name_or_path corda_config eva_config exclude_modules inference_mode layers_pattern \
    loftq_config lora_ga_config megatron_config megatron_core peft_type peft_version qalora_group_size revision \
    runtime_config task_type";

pub(super) fn read(fields: &Fields<'_>) -> Result<AdapterConfig, Error> {
    refuse(fields)?;
    let or_eight = |name: &str| fields.get(name).cloned().unwrap_or(json!(8));
    let layer = |value: &Value| value.as_u64().and_then(|layer| usize::try_from(layer).ok());
    let mut config = AdapterConfig {
        rank: fields.rank("r", &or_eight("r"))?,
        alpha: fields.number("lora_alpha", &or_eight("lora_alpha"))?,
        dropout: fields.share("lora_dropout")?,
        rslora: fields.flag("use_rslora")?,
        dora: fields.flag("use_dora")?,
        targets: Vec::new(),
        layers: fields.list("layers_to_transform", layer, "it must be a number or a list of numbers")?,
        ranks: patterns(fields, "rank_pattern", |name, value| fields.rank(name, value))?,
        alphas: patterns(fields, "alpha_pattern", |name, value| fields.number(name, value))?,
        saved: fields.texts("modules_to_save")?,
    };
    // A text is a pattern: then, and where names are taken out again, the tensors alone say what is adapted.
    let named = fields.get("target_modules").is_some_and(Value::is_array);
    if named && fields.get("exclude_modules").is_none() {
        config.targets = fields.texts("target_modules")?;
        config.targets.retain(|target| target != ALL);
    }
    Ok(config)
}

/// Values of modules whose names end as the keys say.
fn patterns<T>(
    fields: &Fields<'_>,
    name: &str,
    read: impl Fn(&str, &Value) -> Result<T, Error>,
) -> Result<Vec<(String, T)>, Error> {
    let Some(value) = fields.get(name) else { return Ok(Vec::new()) };
    let map = value.as_object().ok_or_else(|| fields.wrong(name, value, "it must be an object"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let read = |(key, value): (&String, &Value)| match key.strip_prefix('^').unwrap_or(key).chars().all(plain) {
        true => Ok((key.clone(), read(name, value)?)),
        false => Err(fields.wrong(name, &json!(key), "only names of modules are read there, not patterns")),
    };
    map.iter().map(read).collect()
}

/// Fails for what would change the numbers and is not supported.
fn refuse(fields: &Fields<'_>) -> Result<(), Error> {
    let unset = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let text = |name: &str| fields.get(name).map(|value| (value, value.as_str().unwrap_or_default()));
    let wrong = |name: &str, value: &Value, wants: &str| Err(fields.wrong(name, value, wants));
    match text("peft_type") {
        Some((_, "LORA")) => {}
        other => {
            return wrong("peft_type", other.map_or(&Value::Null, |(value, _)| value), "only LORA adapters are read");
        }
    }
    if let Some((value, _)) = text("bias").filter(|(_, bias)| *bias != "none") {
        return wrong("bias", value, "adapters that train biases are not supported");
    }
    let changes_base =
        |(value, start): &(&Value, &str)| value.is_string() && !["gaussian", "eva", "orthogonal"].contains(start);
    if let Some((value, _)) = text("init_lora_weights").filter(changes_base) {
        let wants = "this start changes the base too; convert the adapter to plain LoRA with peft";
        return wrong("init_lora_weights", value, wants);
    }
    let known = |name: &str| KNOWN.split_whitespace().any(|known| known == name);
    match fields.map.iter().find(|(name, value)| !known(name) && !unset(value)) {
        Some((name, value)) => wrong(name, value, "adapters with it are not supported"),
        None => Ok(()),
    }
}

/// The contents of `adapter_config.json`.
pub(in super::super) fn write(config: &AdapterConfig, base: &str) -> Value {
    let number = |x: f64| if x.fract() == 0.0 { json!(x as i64) } else { json!(x) };
    let alphas = config.alphas.iter().map(|(name, alpha)| (name.clone(), number(*alpha)));
    let ranks = config.ranks.iter().map(|(name, rank)| (name.clone(), json!(rank)));
    let saved = (!config.saved.is_empty()).then_some(&config.saved);
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": true,
        "r": config.rank,
        "lora_alpha": number(config.alpha),
        "lora_dropout": config.dropout,
        "use_rslora": config.rslora,
        "use_dora": config.dora,
        "target_modules": config.targets,
        "layers_to_transform": config.layers,
        "rank_pattern": ranks.collect::<Map<_, _>>(),
        "alpha_pattern": alphas.collect::<Map<_, _>>(),
        "modules_to_save": saved,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
    })
}

/// A tensor's module and part, or the parameter that it is as a whole.
pub(super) fn parse(name: &str) -> Option<(&str, Option<Part>)> {
    // Some versions wrote the vector as a module of its own.
    let ends = [
        (".lora_A.weight", Part::A),
        (".lora_B.weight", Part::B),
        (".lora_magnitude_vector", Part::Magnitude),
        (".lora_magnitude_vector.weight", Part::Magnitude),
    ];
    let name = name.strip_prefix(PREFIX)?;
    let part = ends.iter().find_map(|(end, part)| Some((name.strip_suffix(end)?, Some(*part))));
    part.or_else(|| (!name.contains("lora_")).then_some((name, None)))
}
