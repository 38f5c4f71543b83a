//! A model folder with random weights.

use std::path::Path;

use crate::{
    data::tokenizer::Tokenizer,
    formats::{self, Contents, Dtype, ModelFiles, SHARD_BYTES},
    model::Config,
    session::Error,
};

/// Writes a model of the shape in `config_json` (read from `origin`) with the tokenizer of another folder; returns its
/// shape.
///
/// # Errors
/// If the shape is not one we train, the tokenizer has more tokens than the model, or something stands in `out`.
pub fn init(config_json: &str, origin: &Path, tokenizer: &Path, seed: u64, out: &Path) -> Result<Config, Error> {
    let config = Config::from_json(config_json, origin)?;
    let tokens = Tokenizer::open(tokenizer)?.vocab_size();
    if tokens > config.vocab {
        return Err(Error::User(format!(
            "{}: vocab_size is {}, but the tokenizer in {} has {tokens} tokens; raise vocab_size to that at least",
            origin.display(),
            config.vocab,
            tokenizer.display(),
        )));
    }
    let entries = config.entries();
    let model = ModelFiles {
        config_json,
        architecture: config.family.architecture,
        tokenizer: &formats::read_tokenizer(tokenizer)?,
        entries: &entries,
    };
    let parameters = config.parameters();
    let mut next = parameters.iter();
    formats::save(out, &Contents::Model(model), Dtype::F32, SHARD_BYTES, |entry| {
        next.next().map(|p| p.init_values(seed)).ok_or_else(|| format!("no parameter {}", entry.name))
    })?;
    Ok(config)
}
