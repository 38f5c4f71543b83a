//! Small tensors, folders and files for the checkpoint tests.

use std::convert::Infallible;
use std::path::Path;

use underdog::formats::{
    BoxError, Contents, Dtype, Entry, Error, Folder, ModelFiles, TokenizerFiles, save as save_folder,
};

pub(crate) const CONFIG: &str =
    r#"{"architectures": ["LlamaModel"], "model_type": "llama", "torch_dtype": "float16"}"#;

pub(crate) fn entry(name: &str, dims: &[usize]) -> Entry {
    Entry { name: name.into(), dims: dims.to_vec() }
}

/// Three tensors of 24, 5 and 12 values.
pub(crate) fn entries() -> Vec<Entry> {
    vec![
        entry("model.embed_tokens.weight", &[6, 4]),
        entry("model.norm.weight", &[5]),
        entry("lm_head.weight", &[3, 4]),
    ]
}

/// Values that differ between tensors and need all of f32's bits.
pub(crate) fn values(entry: &Entry) -> Vec<f32> {
    let seed = entry.name.bytes().map(f32::from).sum::<f32>();
    (0..entry.count()).map(|i| (seed + i as f32 * 1.7).sin() * 3.0).collect()
}

pub(crate) fn given(entry: &Entry) -> Result<Vec<f32>, Infallible> {
    Ok(values(entry))
}

/// Saves a model.
pub(crate) fn save_model<E: Into<BoxError>>(
    out: &Path,
    model: &ModelFiles,
    dtype: Dtype,
    shard_bytes: u64,
    read: impl FnMut(&Entry) -> Result<Vec<f32>, E>,
) -> Result<(), Error> {
    save_folder(out, &Contents::Model(*model), dtype, shard_bytes, read)
}

/// Saves [`entries`] without a tokenizer.
pub(crate) fn save(out: &Path, dtype: Dtype, shard_bytes: u64) -> Result<(), Error> {
    let (entries, tokenizer) = (entries(), TokenizerFiles::default());
    let model = ModelFiles {
        config_json: CONFIG,
        architecture: "LlamaForCausalLM",
        tokenizer: &tokenizer,
        entries: &entries,
    };
    save_model(out, &model, dtype, shard_bytes, given)
}

/// A safetensors file with any header text and data.
pub(crate) fn raw(path: &Path, header: &str, data: &[u8]) {
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(path, [&length[..], header.as_bytes(), data].concat()).unwrap();
}

/// The message of what should fail, without the folder's own path.
pub(crate) fn refusal<T>(result: Result<T, Error>, folder: &Path) -> String {
    let error = result.err().expect("should be refused").to_string();
    error.replace(&folder.display().to_string(), "DIR").replace('\\', "/")
}

pub(crate) fn opened(folder: &Path) -> Folder {
    Folder::open(folder).unwrap()
}

/// Names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
