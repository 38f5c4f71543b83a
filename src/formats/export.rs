//! Writing a Hugging Face model folder that `from_pretrained` loads, or an adapter's that PEFT does.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::adapter::{self, AdapterConfig};
use super::aside::{Aside, remove_partial};
use super::encode::{Dtype, Read, write_tensors};
use super::error::{BASE_MARK, BoxError, Error, io};
use super::files::hidden;
use super::folder::{CONFIG, INDEX, SINGLE};
use super::source::{Entry, TokenizerFiles};

/// Size at which transformers 4 starts another shard.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// What a model folder is made of, apart from the values.
#[derive(Debug, Clone, Copy)]
pub struct ModelFiles<'a> {
    /// The text of `config.json`; `architectures` and the type of the weights are rewritten.
    pub config_json: &'a str,
    /// The class that loads these weights, e.g. `Qwen3ForCausalLM`.
    pub architecture: &'a str,
    /// Tokenizer, chat template and generation settings.
    pub tokenizer: &'a TokenizerFiles,
    /// Every tensor, in the order in which it is asked for.
    pub entries: &'a [Entry],
}

/// What an adapter's folder is made of, apart from the values.
#[derive(Debug, Clone, Copy)]
pub struct AdapterFiles<'a> {
    /// Its settings; `targets` names what is adapted.
    pub config: &'a AdapterConfig,
    /// Name or folder of the base, as PEFT notes it.
    pub base: &'a str,
    /// The mark of the base's weights: [`super::ReadTensors::mark`].
    pub base_mark: &'a str,
    /// Tokenizer and chat template.
    pub tokenizer: &'a TokenizerFiles,
    /// Every tensor by PEFT's name, in the order in which it is asked for, in PEFT's layout.
    pub entries: &'a [Entry],
}

/// What a run leaves: a model, or an adapter on one.
#[derive(Debug, Clone, Copy)]
pub enum Contents<'a> {
    /// A model of its own.
    Model(ModelFiles<'a>),
    /// What changes another.
    Adapter(AdapterFiles<'a>),
}

impl Contents<'_> {
    /// The file whose presence says that the folder is whole; the last to appear.
    fn last(&self) -> &'static str {
        match self {
            Self::Model(_) => CONFIG,
            Self::Adapter(_) => adapter::CONFIG,
        }
    }

    /// Writes the files into `aside`. Adapters are small and stay in f32.
    pub(super) fn put(&self, aside: &mut Aside, dtype: Dtype, shard_bytes: u64, read: Read) -> Result<(), Error> {
        let tokenizer = match self {
            Self::Model(model) => {
                aside.put(CONFIG, &config(model, dtype)?)?;
                model.tokenizer
            }
            Self::Adapter(files) => {
                aside.put(adapter::CONFIG, &pretty(&adapter::write(files.config, files.base)))?;
                aside.put(BASE_MARK, format!("{}\n", files.base_mark).as_bytes())?;
                files.tokenizer
            }
        };
        tokenizer.files.iter().try_for_each(|(name, bytes)| aside.put(name, bytes))?;
        match self {
            Self::Model(model) => put_shards(aside, model.entries, dtype, shard_bytes, read),
            Self::Adapter(files) => {
                aside.write(adapter::TENSORS, |file| write_tensors(file, files.entries, Dtype::F32, read))
            }
        }
    }
}

/// Writes the folder of a model or an adapter. `read` is asked once for each entry, in order, for its values as f32, row-major.
///
/// `out` appears whole or not at all; where it is a folder that is already there, the files are moved into it with
/// `config.json` or `adapter_config.json` last. Weights beyond `shard_bytes` are split into shards with an index ([`SHARD_BYTES`] is usual).
///
/// # Errors
/// A model or an adapter is already in `out`, the disk refuses, `read` fails or gives another number of values than the entry has, a
/// value is NaN or infinite in `dtype`, `config_json` is no JSON object. `out` is then as it was.
pub fn save<E: Into<BoxError>>(
    out: &Path,
    contents: &Contents,
    dtype: Dtype,
    shard_bytes: u64,
    mut read: impl FnMut(&Entry) -> Result<Vec<f32>, E>,
) -> Result<(), Error> {
    check_vacant(out)?;
    let out = &std::path::absolute(out).map_err(io(out, "create"))?;
    let there = out.is_dir();
    let parent = if there { out } else { out.parent().unwrap_or(out) };
    let name = out.file_name().unwrap_or(CONFIG.as_ref()).to_string_lossy();
    let prefix = hidden(name.as_ref());
    remove_partial(parent, |found| found.starts_with(&*prefix.to_string_lossy()))?;
    let mut aside = Aside::create(parent, &name)?;
    contents.put(&mut aside, dtype, shard_bytes, &mut |entry| read(entry).map_err(Into::into))?;
    check_vacant(out)?;
    if there { aside.move_into(out, contents.last()) } else { aside.rename(out) }
}

/// Checks that [`save`] would overwrite nothing in `out`. Call it before any long work.
///
/// # Errors
/// [`Error::Exists`] for the first file that stands in the way.
pub fn check_vacant(out: &Path) -> Result<(), Error> {
    if out.symlink_metadata().is_err() {
        return Ok(());
    }
    for entry in std::fs::read_dir(out).map_err(io(out, "write into"))? {
        let path = entry.map_err(io(out, "read"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ours = [CONFIG, SINGLE, INDEX, adapter::CONFIG, adapter::TENSORS, BASE_MARK].contains(&&*name)
            || TokenizerFiles::NAMES.contains(&&*name);
        if ours || (name.starts_with("model-") && name.ends_with(".safetensors")) {
            return Err(Error::Exists { path });
        }
    }
    Ok(())
}

/// Writes the weights of a model into `aside`, in one file or in shards with an index.
fn put_shards(aside: &mut Aside, entries: &[Entry], dtype: Dtype, shard_bytes: u64, read: Read) -> Result<(), Error> {
    let shards = split(entries, dtype, shard_bytes);
    if let [only] = shards[..] {
        return aside.write(SINGLE, |file| write_tensors(file, only, dtype, read));
    }
    let mut weight_map = Map::new();
    for (number, entries) in (1..).zip(&shards) {
        let name = format!("model-{number:05}-of-{:05}.safetensors", shards.len());
        aside.write(&name, |file| write_tensors(file, entries, dtype, read))?;
        weight_map.extend(entries.iter().map(|entry| (entry.name.clone(), json!(name))));
    }
    let total: usize = entries.iter().map(|entry| entry.count() * dtype.size()).sum();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
    aside.put(INDEX, &pretty(&index))
}

/// `config.json` with the class and the type that the saved weights have.
fn config(model: &ModelFiles, dtype: Dtype) -> Result<Vec<u8>, Error> {
    let damaged = |reason| Error::Damaged { path: CONFIG.into(), reason };
    let mut config: Map<String, Value> =
        serde_json::from_str(model.config_json).map_err(|error| damaged(error.to_string()))?;
    config.insert("architectures".into(), json!([model.architecture]));
    let name = match dtype {
        Dtype::F32 => json!("float32"),
        Dtype::Bf16 => json!("bfloat16"),
    };
    // transformers 5 writes `dtype` and still reads the older name.
    let newer = config.contains_key("dtype");
    if newer {
        config.insert("dtype".into(), name.clone());
    }
    if !newer || config.contains_key("torch_dtype") {
        config.insert("torch_dtype".into(), name);
    }
    Ok(pretty(&Value::Object(config)))
}

/// Runs of entries that stay within `most` bytes where a single tensor does.
fn split(entries: &[Entry], dtype: Dtype, most: u64) -> Vec<&[Entry]> {
    let mut shards = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, entry) in entries.iter().enumerate() {
        let size = (entry.count() * dtype.size()) as u64;
        if at > start && bytes + size > most {
            shards.push(&entries[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += size;
    }
    shards.push(&entries[start..]);
    shards
}

/// JSON text as files have it. Writing a [`Value`] to memory cannot fail.
fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}
