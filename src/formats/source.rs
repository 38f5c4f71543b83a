//! Where weights, settings and tokenizers come from, whatever the files look like. Nothing here touches a file.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::Dtype;

use super::error::Error;

/// What names of the full model start with and names of a headless base model do not.
const BASE_PREFIX: &str = "model.";

/// Name and shape of a tensor that must be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the file.
    pub name: String,
    /// Its shape, outermost dimension first.
    pub dims: Vec<usize>,
}

impl Entry {
    /// Number of values.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }
}

/// A storage format: one row of what formats differ in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Storage {
    /// Bits of a number, without what its group shares.
    pub bits: usize,
    /// Numbers that share a scale; 1 where each stands for itself.
    pub group: usize,
    /// What the bits mean.
    pub layout: Layout,
}

/// What the bits of a stored number mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Layout {
    /// A number of this type. F32, F16 and BF16 can be read as numbers.
    Plain(Dtype),
    /// The index of an entry of the table, which is multiplied by the group's scale.
    Table([f32; 16]),
    /// A whole number, which is multiplied by the group's scale before the group's offset is added.
    Affine,
}

impl Storage {
    /// How a type without groups stores numbers.
    pub fn plain(dtype: Dtype) -> Self {
        Self { bits: dtype.bitsize(), group: 1, layout: Layout::Plain(dtype) }
    }
}

/// A tensor as a source holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// How its elements are stored. Codes that belong to a quantised matrix are plain whole numbers here.
    pub dtype: Dtype,
    /// Its shape, outermost dimension first.
    pub dims: Vec<usize>,
    /// The file that holds it.
    pub file: Arc<Path>,
}

impl Stored {
    /// Bytes of all its elements.
    pub fn bytes(&self) -> usize {
        self.dims.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// Weights, settings and tokenizer of a model or an adapter.
pub trait TensorSource: Debug + Send + Sync {
    /// Where it is, for messages.
    fn path(&self) -> &Path;

    /// Every tensor by the name that it has here.
    fn entries(&self) -> &BTreeMap<String, Stored>;

    /// Fills `into` with a tensor's bytes as stored, little-endian, from byte `start` on; both of whole elements.
    ///
    /// # Errors
    /// There is no such tensor, or it cannot be read.
    fn read(&self, name: &str, start: usize, into: &mut [u8]) -> Result<(), Error>;

    /// The text of `config.json`, or of an adapter's `adapter_config.json`.
    ///
    /// # Errors
    /// It is missing, too large or no text.
    fn config(&self) -> Result<String, Error>;

    /// Tokenizer, chat template and generation settings, as the files of a model folder.
    ///
    /// # Errors
    /// They are there and cannot be read.
    fn tokenizer(&self) -> Result<TokenizerFiles, Error>;

    /// A tensor and its name here. A source of a headless base model lacks the prefix `model.`; its tensors are found all
    /// the same.
    fn tensor(&self, name: &str) -> Option<(&str, &Stored)> {
        let base = || self.entries().get_key_value(name.strip_prefix(BASE_PREFIX)?);
        self.entries().get_key_value(name).or_else(base).map(|(name, stored)| (name.as_str(), stored))
    }
}

/// The files beside the weights that make a model folder usable, in memory, so that a run can save even when its source has
/// gone.
#[derive(Debug, Clone, Default)]
pub struct TokenizerFiles {
    /// Name and contents.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

impl TokenizerFiles {
    /// Copied as they are where the source has them.
    pub(super) const NAMES: [&str; 10] = [
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "vocab.json",
        "merges.txt",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "generation_config.json",
    ];

    /// Names of the files that were found.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| *name)
    }
}

/// A source whose tensors have other names, such as those of the text part of a multimodal model.
#[derive(Debug, Clone)]
pub struct Renamed {
    source: Arc<dyn TensorSource>,
    entries: BTreeMap<String, Stored>,
    /// The name in the source of each tensor.
    names: BTreeMap<String, String>,
}

impl Renamed {
    /// Gives every tensor the name that `rename` says; those of which it gives `None` are left out.
    pub fn new(source: Arc<dyn TensorSource>, rename: impl Fn(&str) -> Option<String>) -> Self {
        let (mut entries, mut names) = (BTreeMap::new(), BTreeMap::new());
        for (old, stored) in source.entries() {
            if let Some(new) = rename(old) {
                entries.insert(new.clone(), stored.clone());
                names.insert(new, old.clone());
            }
        }
        Self { source, entries, names }
    }
}

impl TensorSource for Renamed {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn entries(&self) -> &BTreeMap<String, Stored> {
        &self.entries
    }

    fn read(&self, name: &str, start: usize, into: &mut [u8]) -> Result<(), Error> {
        self.source.read(self.names.get(name).map_or(name, String::as_str), start, into)
    }

    fn config(&self) -> Result<String, Error> {
        self.source.config()
    }

    fn tokenizer(&self) -> Result<TokenizerFiles, Error> {
        self.source.tokenizer()
    }
}

/// For a tensor that is not there, of which `others` more are missing.
pub(super) fn missing(source: &(impl TensorSource + ?Sized), name: &str, others: usize) -> Error {
    Error::Missing { folder: source.path().into(), name: name.into(), others }
}

/// The file that holds a tensor, for messages.
pub(super) fn place(stored: &Stored) -> PathBuf {
    stored.file.to_path_buf()
}
