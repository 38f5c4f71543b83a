//! A model folder's `config.json` as a model.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value, json};

use super::{
    super::families::FAMILIES,
    Config, Family, Held,
    fields::{Error, Fields},
    quantised, refused,
};
use crate::graph::ops::Norm;

/// Largest `config.json` that is read; real ones have a few KB.
const MAX_BYTES: u64 = 4 << 20;

/// What Llama's class assumes, and the others but for what they say.
fn class(family: &Family) -> Map<String, Value> {
    let llama = json!({
        "vocab_size": 32_000, "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "intermediate_size": 11_008, "hidden_act": "silu", "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
        "initializer_range": 0.02, "rope_theta": 1e4, "tie_word_embeddings": false
    });
    let fields = [llama, (family.class)()].into_iter().filter_map(|value| match value {
        Value::Object(fields) => Some(fields),
        _ => None,
    });
    fields.flatten().collect()
}

impl Config {
    /// Reads `config.json` of a model folder.
    ///
    /// # Errors
    /// As [`Config::from_json`], and [`Error::Read`] where the file cannot be read.
    pub fn open(folder: &Path) -> Result<Config, Error> {
        let path = folder.join("config.json");
        let read = || {
            let bytes = std::fs::metadata(&path)?.len();
            if bytes > MAX_BYTES {
                return Err(std::io::Error::other(format!("{bytes} bytes is no config.json")));
            }
            std::fs::read_to_string(&path)
        };
        match read() {
            Ok(text) => Config::from_json(&text, &path),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Reads the text of a `config.json`; `origin` is the file that errors name.
    ///
    /// A missing field takes the default of the transformers class, as it would there.
    ///
    /// # Errors
    /// The text is no JSON object, names an architecture or asks for a computation that is not supported, or holds a value
    /// that makes no sense.
    pub fn from_json(text: &str, origin: &Path) -> Result<Config, Error> {
        let json = |reason: String| Error::Json { path: origin.into(), reason };
        let value: Value = serde_json::from_str(text).map_err(|error| json(error.to_string()))?;
        let map = value.as_object().ok_or_else(|| json("not a JSON object".into()))?;
        let family = find_family(map, origin)?;
        let class = class(family);
        let file = Fields::new(map, &class, origin);
        refused::check(&file)?;
        let plain = held(&file);
        let quantised = quantised::read(&file, plain.table)?;
        let mut config = Config {
            family,
            vocab: file.size("vocab_size", 1 << 21)?,
            hidden: file.size("hidden_size", 1 << 16)?,
            layers: Vec::new(),
            norm: Norm { eps: file.number("rms_norm_eps", 1e-6, 1e-12..=0.1)? as f32, offset: 0.0 },
            final_softcap: None,
            embedding_scale: 1.0,
            tied: file.flag("tie_word_embeddings")?,
            init_std: file.number("initializer_range", 0.02, 0.0..=10.0)? as f32,
            max_positions: file.size("max_position_embeddings", 1 << 30)?,
            bos: file.id("bos_token_id")?,
            eos: file.ids("eos_token_id")?,
            pad: file.id("pad_token_id")?,
            held: quantised.unwrap_or(plain),
            formats: BTreeMap::new(),
            quantised: quantised.is_some(),
        };
        (family.read)(&file, &mut config)?;
        Ok(config)
    }
}

/// The family by `model_type`, or by `architectures` where that is missing.
fn find_family(map: &Map<String, Value>, origin: &Path) -> Result<&'static Family, Error> {
    let model_type = map.get("model_type").and_then(Value::as_str);
    let architectures: Vec<&str> = match map.get("architectures") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let matches = |family: &&&Family| match model_type {
        Some(name) => name == family.model_type,
        None => architectures.contains(&family.architecture),
    };
    FAMILIES.iter().find(matches).copied().ok_or_else(|| {
        let found = match (model_type, architectures.first()) {
            (Some(name), _) => format!("unknown architecture (`model_type` = {name:?})"),
            (None, Some(name)) => format!("unknown architecture (`architectures` = {name:?})"),
            (None, None) => "neither `model_type` nor `architectures` names one".into(),
        };
        let known = FAMILIES.iter().map(|family| family.model_type).collect::<Vec<_>>().join(", ");
        Error::Architecture { path: origin.into(), found: found + &refused::reason(map), known }
    })
}

/// What transformers would load it as; the weights themselves decide where they are at hand.
fn held(file: &Fields<'_>) -> Held {
    match file.get("dtype").or(file.get("torch_dtype")).and_then(Value::as_str) {
        Some("bfloat16") => Held::BF16,
        Some("float16") => Held::F16,
        _ => Held::default(),
    }
}
