//! A model and an adapter on it, made into a model folder of its own.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{
    formats::{self, Contents, ModelFiles, SHARD_BYTES},
    session::{Error, Source},
    settings::Dtype,
};

/// Writes the merged model to `out`; of a quantised base, the widened numbers.
///
/// # Errors
/// If the adapter is not of this model, something stands in `out` already, or a file cannot be read or written.
pub fn merge(model: &Path, adapter: &Path, out: &Path, dtype: Dtype) -> Result<(), Error> {
    formats::check_vacant(out)?;
    let source = Source::open(model)?.with(adapter)?;
    let Some((layout, folder)) = source.layout().zip(source.adapter_folder()) else {
        return Err(Error::User(format!("{} holds no adapter", adapter.display())));
    };
    let (entries, unties) = layout.merged_entries(&source.config);
    let mut files = source.files(dtype);
    files.config_json = merged_config(&files.config_json, unties);
    let merged = ModelFiles {
        config_json: &files.config_json,
        architecture: &files.architecture,
        tokenizer: &files.tokenizer,
        entries: &entries,
    };
    formats::save(out, &Contents::Model(merged), files.dtype, SHARD_BYTES, |entry| {
        layout.merged(entry, source.weights.as_ref(), folder, &source.config)
    })?;
    Ok(())
}

/// The `config.json` of a model whose matrices are widened, and whose head is not the embedding if it `unties`.
fn merged_config(config_json: &str, unties: bool) -> String {
    let mut config: Map<String, Value> = serde_json::from_str(config_json).unwrap_or_default();
    config.retain(|field, _| !["quantization", "quantization_config"].contains(&field.as_str()));
    if unties {
        config.insert("tie_word_embeddings".into(), Value::Bool(false));
    }
    Value::Object(config).to_string()
}
