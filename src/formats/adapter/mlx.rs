//! Adapters of mlx-lm: `y = W x + scale (x a) b` with `a: [in, rank]`, `b: [rank, out]`.

use serde_json::Value;

use super::super::error::Error;
use super::config::{AdapterConfig, Part};
use super::fields::Fields;

/// mlx-lm's tensors.
pub(super) const TENSORS: &str = "adapters.safetensors";

pub(super) fn read(fields: &Fields<'_>) -> Result<AdapterConfig, Error> {
    let kind = fields.get("fine_tune_type").map(|value| (value, value.as_str().unwrap_or("lora")));
    if let Some((value, _)) = kind.filter(|(_, kind)| !["lora", "dora"].contains(kind)) {
        return Err(fields.wrong("fine_tune_type", value, "only lora and dora are adapters"));
    }
    let value = fields.get("lora_parameters").unwrap_or(&Value::Null);
    let map = value.as_object().ok_or_else(|| fields.wrong("lora_parameters", value, "it must be an object"))?;
    let inner = Fields { map, path: fields.path };
    let need = |name: &str| {
        inner.get(name).ok_or_else(|| inner.wrong(name, &Value::Null, "mlx-lm writes it, and it is needed"))
    };
    let rank = inner.rank("rank", need("rank")?)?;
    let scale = inner.number("scale", need("scale")?)?;
    Ok(AdapterConfig {
        rank,
        alpha: scale * rank as f64,
        dropout: inner.share("dropout")?,
        dora: kind.is_some_and(|(_, kind)| kind == "dora"),
        ..AdapterConfig::default()
    })
}

/// A tensor's module and part.
pub(super) fn parse(name: &str) -> Option<(&str, Option<Part>)> {
    let ends = [(".lora_a", Part::A), (".lora_b", Part::B), (".m", Part::Magnitude)];
    ends.iter().find_map(|(end, part)| Some((name.strip_suffix(end)?, Some(*part))))
}
