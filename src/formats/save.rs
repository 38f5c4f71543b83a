//! Writing a Hugging Face model folder that `from_pretrained` loads, or an adapter's that PEFT does.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::aside::{Aside, MARK, Read, sweep};
use super::folder::{INDEX, SINGLE};
use super::{AdapterFiles, BoxError, Companions, Entry, Error, adapter, io};

/// Size at which transformers 4 starts another shard.
pub const SHARD_BYTES: u64 = 5_000_000_000;
/// The file whose presence says that a model folder is whole; the last to appear.
const CONFIG: &str = "config.json";

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// As they are trained: exact.
    F32,
    /// Rounded to nearest even: half the size.
    Bf16,
}

impl Dtype {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        self.stored().bitsize() / 8
    }

    pub(super) fn stored(self) -> safetensors::Dtype {
        match self {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::Bf16 => safetensors::Dtype::BF16,
        }
    }

    /// Its name in `config.json`.
    fn torch_name(self) -> &'static str {
        match self {
            Dtype::F32 => "float32",
            Dtype::Bf16 => "bfloat16",
        }
    }
}

/// What a model folder is made of, apart from the values.
#[derive(Debug, Clone, Copy)]
pub struct ModelFiles<'a> {
    /// The text of `config.json`; `architectures` and the type of the weights are rewritten.
    pub config_json: &'a str,
    /// The class that loads these weights, e.g. `Qwen3ForCausalLM`.
    pub architecture: &'a str,
    /// Tokenizer, chat template and generation settings.
    pub companions: &'a Companions,
    /// Every tensor, in the order in which it is asked for.
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
    /// The file whose presence says that the folder is whole.
    fn last(&self) -> &'static str {
        match self {
            Self::Model(_) => CONFIG,
            Self::Adapter(_) => adapter::CONFIG,
        }
    }

    /// Writes the files into `aside`. Adapters are small and stay in f32.
    pub(super) fn put(&self, aside: &mut Aside, dtype: Dtype, shard_bytes: u64, read: Read) -> Result<(), Error> {
        match self {
            Self::Model(model) => put_model(aside, model, dtype, shard_bytes, read),
            Self::Adapter(files) => put_adapter(aside, files, read),
        }
    }
}

/// Writes a model folder: [`save`] of a model.
///
/// # Errors
/// Those of [`save`].
pub fn save_model<E: Into<BoxError>>(
    out: &Path,
    model: &ModelFiles,
    dtype: Dtype,
    shard_bytes: u64,
    read: impl FnMut(&Entry) -> Result<Vec<f32>, E>,
) -> Result<(), Error> {
    save(out, &Contents::Model(*model), dtype, shard_bytes, read)
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
    sweep(parent, |hidden| hidden.starts_with(&format!(".{name}{MARK}")))?;
    let mut aside = Aside::create(parent, &name)?;
    contents.put(&mut aside, dtype, shard_bytes, &mut |entry| read(entry).map_err(Into::into))?;
    check_vacant(out)?;
    if there { aside.move_into(out, contents.last()) } else { aside.rename(out) }
}

/// Checks that [`save_model`] would overwrite nothing in `out`. Call it before any long work.
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
        let ours = [CONFIG, SINGLE, INDEX, adapter::CONFIG, adapter::TENSORS, adapter::BASE].contains(&&*name)
            || Companions::is_one(&name);
        if ours || (name.starts_with("model-") && name.ends_with(".safetensors")) {
            return Err(Error::Exists { path });
        }
    }
    Ok(())
}

/// Writes the files of an adapter into `aside`.
fn put_adapter(aside: &mut Aside, files: &AdapterFiles, read: Read) -> Result<(), Error> {
    aside.put(adapter::CONFIG, &pretty(&files.config_json()))?;
    aside.put(adapter::BASE, format!("{}\n", files.base_mark).as_bytes())?;
    for (name, bytes) in &files.companions.files {
        aside.put(name, bytes)?;
    }
    aside.put_tensors(adapter::TENSORS, files.entries, Dtype::F32, read)
}

/// Writes the files of a model into `aside`.
fn put_model(aside: &mut Aside, model: &ModelFiles, dtype: Dtype, shard_bytes: u64, read: Read) -> Result<(), Error> {
    aside.put(CONFIG, &config(model, dtype)?)?;
    for (name, bytes) in &model.companions.files {
        aside.put(name, bytes)?;
    }
    let shards = split(model.entries, dtype, shard_bytes);
    if let [only] = shards[..] {
        return aside.put_tensors(SINGLE, only, dtype, read);
    }
    let mut weight_map = Map::new();
    for (number, entries) in (1..).zip(&shards) {
        let name = format!("model-{number:05}-of-{:05}.safetensors", shards.len());
        aside.put_tensors(&name, entries, dtype, read)?;
        weight_map.extend(entries.iter().map(|entry| (entry.name.clone(), json!(name))));
    }
    let total: usize = model.entries.iter().map(|entry| entry.count() * dtype.size()).sum();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
    aside.put(INDEX, &pretty(&index))
}

/// `config.json` with the class and the type that the saved weights have.
fn config(model: &ModelFiles, dtype: Dtype) -> Result<Vec<u8>, Error> {
    let damaged = |reason| Error::Damaged { path: CONFIG.into(), reason };
    let mut config: Map<String, Value> =
        serde_json::from_str(model.config_json).map_err(|error| damaged(error.to_string()))?;
    config.insert("architectures".into(), json!([model.architecture]));
    // transformers 5 writes `dtype` and still reads the older name.
    let newer = config.contains_key("dtype");
    if newer {
        config.insert("dtype".into(), json!(dtype.torch_name()));
    }
    if !newer || config.contains_key("torch_dtype") {
        config.insert("torch_dtype".into(), json!(dtype.torch_name()));
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
pub(super) fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}
