//! Resume keys: everything that decides the numbers of a run, by explicit names. A run goes on only where all of it is the same.

use std::{collections::BTreeSet, fmt, path::Path};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{digest, error::Error, source::Source};
use crate::{
    data::Example,
    data::sampler::Order,
    formats::{TensorSource, files::hex},
};

/// Of the names and values below: what another version wrote is refused.
pub(crate) const VERSION: u64 = 2;
/// Fields of `config.json` that change no number: descriptions, and defaults of other programs.
const DESCRIPTIVE: &[&str] = &[
    "_name_or_path",
    "architectures",
    "auto_map",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "initializer_range",
    "pad_token_id",
    "torch_dtype",
    "transformers_version",
    "use_cache",
];

/// Where two keys differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The name, with those that it lies under.
    pub(crate) name: String,
    /// What it was, and what it is now.
    pub(crate) was: String,
    pub(crate) is: String,
}

impl Difference {
    /// Of a key that cannot be read.
    pub(crate) fn unreadable() -> Self {
        Self { name: "version".into(), was: "unreadable".into(), is: VERSION.to_string() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, was, is } = self;
        write!(f, "{name} was {was} and is {is}")
    }
}

/// The first name whose values differ.
pub(crate) fn difference(was: &Map<String, Value>, is: &Map<String, Value>) -> Option<Difference> {
    // What another version wrote differs in more than it can say.
    let version = ["version"].into_iter().filter(|_| was.get("version") != is.get("version"));
    let names = version.chain(was.keys().chain(is.keys()).map(String::as_str));
    let shown = |value: Option<&Value>| value.map_or_else(|| "not set".into(), ToString::to_string);
    for name in names {
        match (was.get(name), is.get(name)) {
            (was, is) if was == is => {}
            (Some(Value::Object(was)), Some(Value::Object(is))) => {
                let inner = difference(was, is)?;
                return Some(Difference { name: format!("{name}.{}", inner.name), ..inner });
            }
            (was, is) => return Some(Difference { name: name.into(), was: shown(was), is: shown(is) }),
        }
    }
    None
}

/// What decides the numbers of a model: the settings of its shape, and digests of the files that hold its weights.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn of_model(source: &Source) -> Result<Value, Error> {
    let mut config: Map<String, Value> = serde_json::from_str(&source.config_json).unwrap_or_default();
    config.retain(|name, _| !DESCRIPTIVE.contains(&name.as_str()));
    let mut model = json!({ "config": config, "weights": weights(source.weights.as_ref())? });
    // What a fresh adapter starts from follows from settings.
    if let Some(folder) = source.adapter_folder() {
        let config: Value = serde_json::from_str(&folder.config()?).unwrap_or_default();
        model["adapter"] = json!({ "config": config, "weights": weights(folder)? });
    }
    Ok(model)
}

/// A digest of the files that hold weights.
fn weights(source: &dyn TensorSource) -> Result<String, Error> {
    let files: BTreeSet<&Path> = source.entries().values().map(|stored| &*stored.file).collect();
    digest::of_files(files)
}

/// The examples of a run, and which of them make an epoch.
pub(crate) fn of_data(examples: &[Example], order: Option<&Order>) -> Value {
    let mut hash = Sha256::new();
    for example in examples {
        hash.update(example.idx.to_le_bytes());
        hash.update((example.ids.len() as u64).to_le_bytes());
        hash.update(bytemuck::cast_slice::<u32, u8>(&example.ids));
        hash.update(example.trained.iter().map(|t| u8::from(*t)).collect::<Vec<u8>>());
    }
    let drawn = match order {
        Some(Order::Drawn(drawn)) => {
            let drawn: Vec<u8> = drawn.iter().flat_map(|i| (*i as u64).to_le_bytes()).collect();
            Some(hex(&Sha256::digest(drawn)))
        }
        _ => None,
    };
    json!({ "examples": hex(&hash.finalize()), "drawn": drawn })
}

/// A key of these parts.
pub(crate) fn of<'a>(parts: impl IntoIterator<Item = (&'a str, Value)>) -> Map<String, Value> {
    [("version", VERSION.into())].into_iter().chain(parts).map(|(name, value)| (name.to_owned(), value)).collect()
}
