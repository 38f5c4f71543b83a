//! Why weights could not be read or written.

use std::path::{Path, PathBuf};

/// The file with the mark of the base that an adapter was trained on; not there in folders of others.
pub(super) const BASE_MARK: &str = "base.fingerprint";

/// What a caller's own failure arrives as.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder holds no safetensors.
    #[error("{}: neither model.safetensors nor model.safetensors.index.json is there{hint}", folder.display())]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// What lies there instead, or nothing.
        hint: String,
    },
    /// The file is not what its name says.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file has another length than its header says.
    #[error(
        "{}: {actual} bytes where its header promises {expected}; it was cut off or overwritten, copy it again",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes by the header.
        expected: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// A tensor that the model needs is not there.
    #[error(
        "{}: tensor `{name}` is missing{}; the weights do not belong to this config.json",
        folder.display(), more(*others)
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The first missing tensor.
        name: String,
        /// How many more are missing.
        others: usize,
    },
    /// A tensor has another shape than the model.
    #[error("{}: tensor `{name}` has shape {found:?}, the model needs {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The model's shape.
        expected: Vec<usize>,
        /// The file's shape.
        found: Vec<usize>,
    },
    /// A tensor is stored as something other than F32, F16 or BF16.
    #[error("{}: tensor `{name}` is stored as {found}; F32, F16 and BF16 can be read", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// How it is stored.
        found: String,
    },
    /// A matrix is quantised, and not as it could be read.
    #[error("{}: tensor `{name}` is quantised and cannot be read: {reason}", path.display())]
    Quantised {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong, and what could be read.
        reason: String,
    },
    /// An adapter was trained on other weights.
    #[error(
        "{}: this adapter was trained on another base: a model of these shapes with other weights. Give the model that its \
         adapter_config.json names; or remove {} to use it here all the same",
        adapter.display(), adapter.join(BASE_MARK).display()
    )]
    OtherBase {
        /// The adapter's folder.
        adapter: PathBuf,
    },
    /// A value is NaN or infinite, as it is or as it would be stored.
    #[error("{}: tensor `{name}` holds {value} at index {index}, no finite number as stored", path.display())]
    NotFinite {
        /// The file read, or the name of the one that was to be written.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Position of the first such value, row-major.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The caller could not give a tensor's values.
    #[error("cannot get the values of tensor `{name}` to save them: {source}")]
    Source {
        /// The tensor.
        name: String,
        /// The caller's error.
        source: BoxError,
    },
    /// Something already stands where a folder should be written.
    #[error("{} is already there; nothing was overwritten. Choose another folder or remove it", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
}

fn more(others: usize) -> String {
    match others {
        0 => String::new(),
        _ => format!(" (and {others} more)"),
    }
}

/// For `map_err` on a call about `path`.
pub(super) fn io(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { path: path.into(), doing, source }
}
