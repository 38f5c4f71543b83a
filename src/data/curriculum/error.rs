//! What this room refuses, and how it says so.

use std::io;
use std::path::PathBuf;

use super::weak::{Candidate, table};

/// What can be wrong with entropies, coefficients or their files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not a row of the expected kind.
    #[error("{}:{line}: {message}; every line must be a JSON object with {wanted}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
        /// The fields of a row.
        wanted: &'static str,
    },
    /// A file without a single row.
    #[error("{}: holds no rows", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The same sample twice.
    #[error("{}:{line}: sample idx {idx} stands there a second time (first in line {first}); keep one of them", path.display())]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// The line of the second one.
        line: usize,
        /// The line of the first one.
        first: usize,
        /// The sample.
        idx: u64,
    },
    /// A sample that not every file knows.
    #[error(
        "{}: has no row for sample idx {idx}, which {} has; score the same data file with every model",
        missing_in.display(), found_in.display()
    )]
    Missing {
        /// The sample.
        idx: u64,
        /// The file that lacks it.
        missing_in: PathBuf,
        /// The file that has it.
        found_in: PathBuf,
    },
    /// Another number of files than the rule reads.
    #[error("{rule} reads {wanted}; got {given}. `underdog score` writes such a file")]
    Files {
        /// The rule's name.
        rule: &'static str,
        /// The files it reads.
        wanted: &'static str,
        /// How many were given.
        given: usize,
    },
    /// Two lists that should speak of the same samples.
    #[error("{entropies} entropies of the {model} model but {strong} of the strong one")]
    Lengths {
        /// `earliest` or `weak`.
        model: &'static str,
        /// Its entropies.
        entropies: usize,
        /// Entropies of the strong model.
        strong: usize,
    },
    /// An entropy that cannot be one.
    #[error("sample {sample}: the {model} model's entropy is {value}; an entropy is a finite number, 0 or more")]
    Entropy {
        /// Position of the sample in the list.
        sample: usize,
        /// `earliest`, `weak` or `strong`.
        model: &'static str,
        /// The value that came.
        value: f64,
    },
    /// A coefficient of a rule that cannot be one.
    #[error("{name} is {value}; {wanted}")]
    Coefficient {
        /// Its name.
        name: &'static str,
        /// The value that came.
        value: f64,
        /// What it must be.
        wanted: &'static str,
    },
    /// Nothing to weigh samples by.
    #[error(
        "all {samples} weights are zero: no sample has what alpha, beta and gamma ask for (entropy of the weak model, \
         entropy lost, entropy gained); raise the coefficient of a term that is not zero or train on all samples"
    )]
    AllZero {
        /// Number of samples.
        samples: usize,
    },
    /// Weights beyond what can be summed.
    #[error("the weights sum to {total}; choose smaller coefficients")]
    NotFinite {
        /// Their sum: infinite or not a number.
        total: f64,
    },
    /// No checkpoint that could serve as weak model.
    #[error(
        "no candidate can be the weak model: its loss must be finite and above the strong model's {strong_loss:.4}, and \
         its amplification finite; give an earlier checkpoint, train the strong model further, or name the weak model \
         yourself. The candidates:{}",
        table(candidates)
    )]
    NoWeak {
        /// The strong model's loss on the slice, in nats.
        strong_loss: f64,
        /// What was measured of the candidates.
        candidates: Vec<Candidate>,
    },
}
