//! What a file says of weights that are quantised already. Which matrices are, and how, their tensors tell.

use serde_json::Value;

use super::{
    Held,
    fields::{Error, Fields},
};
use crate::graph::tensor::{Format, GROUP};

const PLAIN: &str = "use the unquantised model, with --quantize 4bit if memory is short";

/// How matrices of a quantised checkpoint are held, beside tables of `plain`; `None`: it is not quantised.
pub(super) fn read(fields: &Fields, plain: Format) -> Result<Option<Held>, Error> {
    const OF_MLX: &str = "quantization";
    const OF_TRANSFORMERS: &str = "quantization_config";
    let has = |value: &&Value, field: &str| value.get(field).is_some_and(|value| !value.is_null());
    if let Some(mlx) = fields.get(OF_MLX).filter(|value| has(value, "group_size")) {
        return mlx_held(mlx).map(Some).map_err(|reason| fields.unsupported(OF_MLX, mlx, &reason));
    }
    let Some(value) = fields.get(OF_TRANSFORMERS) else { return Ok(None) };
    let refused = |reason: &str| Err(fields.unsupported(OF_TRANSFORMERS, value, reason));
    match value.get("quant_method").and_then(Value::as_str) {
        Some("bitsandbytes") => {}
        Some(other) => return refused(&format!("weights quantised by {other} are not read; {PLAIN}")),
        None if has(&value, "load_in_4bit") => {}
        None => return refused(&format!("it does not say by what the weights are quantised; {PLAIN}")),
    }
    if value.get("load_in_4bit") != Some(&Value::Bool(true)) {
        return refused(
            "weights in 8 bits by bitsandbytes are not read; use the unquantised model, with --quantize 8bit",
        );
    }
    match value.get("bnb_4bit_quant_type").and_then(Value::as_str) {
        Some("nf4") => Ok(Some(Held { linear: Format::Nf4, table: plain })),
        _ => refused(&format!("of bitsandbytes' 4 bits, nf4 is read (fp4 is their default); {PLAIN}")),
    }
}

fn mlx_held(value: &Value) -> Result<Held, String> {
    let mode = value.get("mode").and_then(Value::as_str).unwrap_or("affine");
    let number = |field: &str| value.get(field).and_then(Value::as_u64).unwrap_or(0);
    let (bits, group_size) = (number("bits"), number("group_size"));
    let format = match bits {
        4 => Format::Q4,
        8 => Format::Q8,
        _ => Format::F32,
    };
    if mode != "affine" || format == Format::F32 || group_size == 0 || !group_size.is_multiple_of(GROUP as u64) {
        return Err(format!(
            "of MLX's weights, those in 4 or 8 bits, affine, in groups of 64 or 128 are read; convert the model again, or {PLAIN}"
        ));
    }
    Ok(Held { linear: format, table: format })
}
