//! PEFT's `adapter_config.json` and its names of tensors.

use serde_json::{Value, json};

use super::{AdapterConfig, Error, Fields, PREFIX, Part};

/// Every linear module of the blocks.
const ALL: &str = "all-linear";
/// What does not touch the numbers of a trained adapter.
const FREE: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "inference_mode",
    "layers_pattern",
    "loftq_config",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "exclude_modules",
];
/// What is read.
const READ: &[&str] = &[
    "alpha_pattern",
    "bias",
    "init_lora_weights",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "r",
    "rank_pattern",
    "target_modules",
    "use_dora",
    "use_rslora",
];

pub(super) fn read(fields: &Fields<'_>) -> Result<AdapterConfig, Error> {
    refuse(fields)?;
    let or = |name: &str, default: Value| fields.get(name).cloned().unwrap_or(default);
    let patterns = |name: &str| -> Result<Vec<(String, Value)>, Error> {
        let Some(value) = fields.get(name) else { return Ok(Vec::new()) };
        let map = value.as_object().ok_or_else(|| fields.wrong(name, value, "it must be an object"))?;
        let plain = |key: &str| {
            key.strip_prefix('^').unwrap_or(key).chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        };
        match map.keys().find(|key| !plain(key)) {
            Some(key) => Err(fields.wrong(name, &json!(key), "only names of modules are read there, not patterns")),
            None => Ok(map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()),
        }
    };
    let mut config = AdapterConfig {
        rank: fields.rank("r", &or("r", json!(8)))?,
        alpha: fields.number("lora_alpha", &or("lora_alpha", json!(8)))?,
        dropout: fields.share("lora_dropout", &or("lora_dropout", json!(0.0)))?,
        rslora: fields.flag("use_rslora")?,
        dora: fields.flag("use_dora")?,
        targets: Vec::new(),
        layers: layers(fields)?,
        ranks: Vec::new(),
        alphas: Vec::new(),
        saved: fields.texts("modules_to_save")?,
    };
    // A text is a pattern: then, and where names are taken out again, the tensors alone say what is adapted.
    let named = fields.get("target_modules").is_some_and(Value::is_array);
    if named && fields.get("exclude_modules").is_none() {
        config.targets = fields.texts("target_modules")?;
        config.targets.retain(|target| target != ALL);
    }
    for (key, value) in patterns("rank_pattern")? {
        config.ranks.push((key, fields.rank("rank_pattern", &value)?));
    }
    for (key, value) in patterns("alpha_pattern")? {
        config.alphas.push((key, fields.number("alpha_pattern", &value)?));
    }
    Ok(config)
}

/// Fails for what would change the numbers and is not built.
fn refuse(fields: &Fields<'_>) -> Result<(), Error> {
    let unset = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let wrong =
        |name: &str, wants: &str| fields.get(name).map_or(Ok(()), |value| Err(fields.wrong(name, value, wants)));
    let kind = fields.get("peft_type").unwrap_or(&Value::Null);
    if kind.as_str() != Some("LORA") {
        return Err(fields.wrong("peft_type", kind, "only LORA adapters are read"));
    }
    if fields.get("bias").is_some_and(|bias| bias.as_str() != Some("none")) {
        return wrong("bias", "adapters that train biases are not built");
    }
    let plain = |value: &Value| matches!(value.as_str(), None | Some("gaussian" | "eva" | "orthogonal"));
    if fields.get("init_lora_weights").is_some_and(|value| !plain(value)) {
        return wrong(
            "init_lora_weights",
            "this start changes the base too; convert the adapter to plain LoRA with peft",
        );
    }
    let other = fields.map.iter().find(|(name, value)| {
        let name = name.as_str();
        !FREE.contains(&name) && !READ.contains(&name) && !unset(value)
    });
    match other {
        Some((name, value)) => Err(fields.wrong(name, value, "adapters with it are not built")),
        None => Ok(()),
    }
}

fn layers(fields: &Fields<'_>) -> Result<Option<Vec<usize>>, Error> {
    let Some(value) = fields.get("layers_to_transform") else { return Ok(None) };
    let layer = |value: &Value| {
        let layer = value.as_u64().and_then(|layer| usize::try_from(layer).ok());
        layer.ok_or_else(|| fields.wrong("layers_to_transform", value, "it must be a number or a list of numbers"))
    };
    match value {
        Value::Array(values) => values.iter().map(layer).collect::<Result<_, _>>().map(Some),
        value => Ok(Some(vec![layer(value)?])),
    }
}

/// The text of `adapter_config.json`. `targets` and `saved` must not be empty names.
pub(super) fn write(config: &AdapterConfig, base: &str) -> Value {
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
        "rank_pattern": ranks.collect::<serde_json::Map<_, _>>(),
        "alpha_pattern": alphas.collect::<serde_json::Map<_, _>>(),
        "modules_to_save": saved,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
    })
}

const ENDS: [(&str, Part); 4] = [
    (".lora_A.weight", Part::A),
    (".lora_B.weight", Part::B),
    (".lora_magnitude_vector", Part::Magnitude),
    (".lora_magnitude_vector.weight", Part::Magnitude),
];

/// A tensor's module and part, or the parameter that it is as a whole.
pub(super) fn parse(name: &str) -> Option<(&str, Option<Part>)> {
    let name = name.strip_prefix(PREFIX)?;
    let part = ENDS.iter().find_map(|(end, part)| Some((name.strip_suffix(end)?, Some(*part))));
    part.or_else(|| (!name.contains("lora_")).then_some((name, None)))
}

pub(super) fn name(module: &str, part: Part) -> String {
    let end = ENDS.iter().find(|(_, other)| *other == part).map_or("", |(end, _)| end);
    format!("{PREFIX}{module}{end}")
}
