//! Adapters of mlx-lm: `y = W x + scale (x a) b` with `a: [in, rank]`, `b: [rank, out]`.

use serde_json::Value;

use super::{AdapterConfig, Error, Fields, Part};

pub(super) fn read(fields: &Fields<'_>) -> Result<AdapterConfig, Error> {
    let kind = fields.get("fine_tune_type").and_then(Value::as_str).unwrap_or("lora");
    if !["lora", "dora"].contains(&kind) {
        let wrong = |value| fields.wrong("fine_tune_type", value, "only lora and dora are adapters");
        return fields.get("fine_tune_type").map_or(Err(wrong(&Value::Null)), |value| Err(wrong(value)));
    }
    let value = fields.get("lora_parameters").unwrap_or(&Value::Null);
    let map = value.as_object().ok_or_else(|| fields.wrong("lora_parameters", value, "it must be an object"))?;
    let inner = Fields { map, path: fields.path };
    let need = |name: &str| {
        inner.get(name).ok_or_else(|| inner.wrong(name, &Value::Null, "mlx-lm writes it, and it is needed"))
    };
    let rank = inner.rank("rank", need("rank")?)?;
    let scale = inner.number("scale", need("scale")?)?;
    let dropout = inner.get("dropout").map_or(Ok(0.0), |value| inner.share("dropout", value))?;
    Ok(AdapterConfig {
        rank,
        alpha: scale * rank as f64,
        dropout,
        rslora: false,
        dora: kind == "dora",
        targets: Vec::new(),
        layers: None,
        ranks: Vec::new(),
        alphas: Vec::new(),
        saved: Vec::new(),
    })
}

const ENDS: [(&str, Part); 3] = [(".lora_a", Part::A), (".lora_b", Part::B), (".m", Part::Magnitude)];

pub(super) fn parse(name: &str) -> Option<(&str, Option<Part>)> {
    ENDS.iter().find_map(|(end, part)| Some((name.strip_suffix(end)?, Some(*part))))
}

pub(super) fn name(module: &str, part: Part) -> String {
    let end = ENDS.iter().find(|(_, other)| *other == part).map_or("", |(end, _)| end);
    format!("{module}{end}")
}
