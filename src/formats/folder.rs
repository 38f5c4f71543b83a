//! A model folder of safetensors files.
//!
//! Plain reads at an offset rather than a memory map: as fast from a disk, no `unsafe`, and a file that shrinks while it
//! is read is an error instead of a signal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::error::{Error, io};
use super::files::{is_basename, read_at, read_regular};
use super::header::{self, UniqueMap};
use super::source::{Stored, TensorSource, TokenizerFiles, missing};
use super::tokenizer_files::read_tokenizer;

/// The file whose presence says that a model folder is whole.
pub(super) const CONFIG: &str = "config.json";
/// The weights of a model in one file.
pub(super) const SINGLE: &str = "model.safetensors";
/// Which shard holds which tensor.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// Largest index that is read.
const MAX_INDEX_BYTES: u64 = 32 << 20;
/// Largest `config.json` that is read; real ones have a few KB.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// A folder of safetensors whose headers have been checked. Its files stay open, so that what was checked is what is read.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    files: Vec<Arc<File>>,
    entries: BTreeMap<String, Stored>,
    /// Of each tensor, the file and the bytes before its first element.
    places: BTreeMap<String, (usize, u64)>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: UniqueMap<String>,
}

impl Folder {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names, and checks every header.
    ///
    /// # Errors
    /// No weights, an unreadable or damaged file, a file shorter or longer than its header says, a shard outside the
    /// folder, a tensor in two shards or in none.
    pub fn open(path: &Path) -> Result<Folder, Error> {
        let (single, index) = (path.join(SINGLE), path.join(INDEX));
        if single.exists() {
            Folder::open_file(&single)
        } else if index.exists() {
            Folder::open_shards(path, &index)
        } else {
            std::fs::read_dir(path).map_err(io(path, "read"))?;
            Err(Error::NoWeights { folder: path.into(), hint: hint(path) })
        }
    }

    /// Opens one safetensors file.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn open_file(file: &Path) -> Result<Folder, Error> {
        let mut folder = Folder::empty(file.parent().unwrap_or(Path::new("")));
        folder.add(file)?;
        Ok(folder)
    }

    fn empty(path: &Path) -> Folder {
        Folder { path: path.into(), files: Vec::new(), entries: BTreeMap::new(), places: BTreeMap::new() }
    }

    fn open_shards(path: &Path, index: &Path) -> Result<Folder, Error> {
        let damaged = |reason: String| Error::Damaged { path: index.into(), reason };
        let text = read_regular(index, MAX_INDEX_BYTES).map_err(io(index, "read"))?;
        let parsed: Index = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let map = parsed.weight_map.0;
        let shards: BTreeSet<&str> = map.iter().map(|(_, shard)| shard.as_str()).collect();
        let mut folder = Folder::empty(path);
        for shard in &shards {
            if !is_basename(shard) || !shard.ends_with(".safetensors") {
                return Err(damaged(format!("{shard:?} is not the name of a shard in this folder")));
            }
            folder.add(&path.join(shard))?;
        }
        for (name, shard) in &map {
            if folder.entries.get(name).is_none_or(|stored| !stored.file.ends_with(shard)) {
                return Err(damaged(format!("`{name}` is not in {shard}, where the index has it")));
            }
        }
        Ok(folder)
    }

    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let header = header::read(path)?;
        let file: Arc<Path> = path.into();
        for (name, info) in header.metadata.tensors() {
            let stored = Stored { dtype: info.dtype, dims: info.shape.clone(), file: file.clone() };
            self.places.insert(name.clone(), (self.files.len(), header.data_start + info.data_offsets.0 as u64));
            if let Some(other) = self.entries.insert(name.clone(), stored) {
                let reason = format!("tensor `{name}` stands in {} as well", other.file.display());
                return Err(Error::Damaged { path: path.into(), reason });
            }
        }
        self.files.push(Arc::new(header.file));
        Ok(())
    }
}

impl TensorSource for Folder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn entries(&self) -> &BTreeMap<String, Stored> {
        &self.entries
    }

    fn read(&self, name: &str, start: usize, into: &mut [u8]) -> Result<(), Error> {
        let found = self.entries.get(name).zip(self.places.get(name));
        let (stored, (file, first)) = found.ok_or_else(|| missing(self, name, 0))?;
        read_at(&self.files[*file], first + start as u64, into).map_err(io(&stored.file, "read"))
    }

    fn config(&self) -> Result<String, Error> {
        read_config(&self.path.join(CONFIG))
    }

    fn tokenizer(&self) -> Result<TokenizerFiles, Error> {
        read_tokenizer(&self.path)
    }
}

/// The text of a small JSON file of a folder.
pub(super) fn read_config(path: &Path) -> Result<String, Error> {
    let bytes = read_regular(path, MAX_CONFIG_BYTES).map_err(io(path, "read"))?;
    String::from_utf8(bytes).map_err(|_| Error::Damaged { path: path.into(), reason: "is not UTF-8 text".into() })
}

/// What to say about a folder that has weights in another form.
fn hint(folder: &Path) -> String {
    let others = [
        ("pytorch_model.bin", "PyTorch pickles are not read (they can run code)"),
        ("pytorch_model.bin.index.json", "PyTorch pickles are not read (they can run code)"),
        ("adapter_model.safetensors", "this is an adapter, not a model; merge it into its base"),
    ];
    let found = others.iter().find(|(name, _)| folder.join(name).exists());
    found.map_or(String::new(), |(name, what)| {
        format!("; there is {name}, but {what}: save the model as safetensors first")
    })
}
