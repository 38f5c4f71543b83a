//! What can go wrong between a model folder or a data file and a batch.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the data room, worded for the person who has to mend the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused to read or write a file.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not say what it should.
    #[error("{path}: {problem}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A row of a JSONL file is wrong.
    #[error("{path}, line {line}: {problem}", path = .path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The field that is wrong and what to do.
        problem: String,
    },
    /// A tokenizer definition that is refused, or that failed on a text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A chat template that cannot be compiled or rendered.
    #[error("chat template: {0}")]
    Template(String),
    /// A reader's thread could not start, or panicked.
    #[error("{0}")]
    Thread(String),
    /// Arguments that do not go together.
    #[error("{0}")]
    Argument(String),
}

impl Error {
    /// For `map_err` on a call about `path`.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.into(), source }
    }

    /// That a file is wrong.
    pub(super) fn malformed(path: &Path, problem: impl Into<String>) -> Self {
        Self::Malformed { path: path.into(), problem: problem.into() }
    }
}
