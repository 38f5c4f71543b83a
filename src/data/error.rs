//! What can go wrong between a model folder or a data file and a batch.

use std::path::PathBuf;

/// An error of the data room, worded for the person who has to mend the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("{path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is larger than any honest file of its kind.
    #[error("{path}: has more than {limit} bytes, the most that is read of such a file", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file of a model folder is missing.
    #[error("{path}: there is no such file; a model folder needs it", path = .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A JSON file does not say what it should.
    #[error("{path}: {problem}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
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
    /// A row of a data file is wrong.
    #[error("{path}, line {line}: {problem}", path = .path.display())]
    Row {
        /// The data file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The field that is wrong and what to do.
        problem: String,
    },
    /// An argument that no call with checked flags can make.
    #[error("{0}")]
    Argument(String),
}
