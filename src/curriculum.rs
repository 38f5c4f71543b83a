//! Entropies of a weak and a strong model -> the probability with which each sample is drawn.
//!
//! The rule is the published one of weak-driven learning (WMSS, arXiv 2602.08222). With `dH = H_strong - H_weak` of
//! sample `i`,
//!
//! ```text
//! p_i = alpha * H_weak_i / sum H_weak  +  beta * [-dH_i]+ / sum [-dH]+  +  gamma * [dH_i]+ / sum [dH]+
//! ```
//!
//! normalised to sum to 1: what the weak model finds hard, what the strong one has become sure of, and what it has
//! forgotten. A term whose sum is zero is dropped.
//!
//! This room is pure arithmetic on the CPU plus the two JSONL files it lives between. It draws nothing (the sampler in
//! `data` does) and runs no model.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A row of these files takes about 120 bytes; a longer line is another kind of file.
const MAX_LINE_BYTES: u64 = 64 * 1024;

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
    /// A sample that only one of two files knows.
    #[error(
        "{}: has no row for sample idx {idx}, which {} has; score the same data file with both models",
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
    /// Two lists that should speak of the same samples.
    #[error("{weak} entropies of the weak model but {strong} of the strong one")]
    Lengths {
        /// Entropies of the weak model.
        weak: usize,
        /// Entropies of the strong model.
        strong: usize,
    },
    /// An entropy that cannot be one.
    #[error("sample {sample}: the {model} model's entropy is {value}; an entropy is a finite number, 0 or more")]
    Entropy {
        /// Position of the sample in the list.
        sample: usize,
        /// `weak` or `strong`.
        model: &'static str,
        /// The value that came.
        value: f64,
    },
    /// A coefficient that cannot be one.
    #[error("{name} is {value}; alpha, beta and gamma must be finite, 0 or more, and not all 0")]
    Coefficient {
        /// `alpha`, `beta` or `gamma`.
        name: &'static str,
        /// The value that came.
        value: f64,
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
}

/// One sample as scored by one model: a row of the file that `score` writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntropyRow {
    /// The sample's stable number in its data file.
    pub idx: u64,
    /// Mean predictive entropy over its completion tokens, in nats.
    pub entropy: f64,
    /// Mean cross-entropy over its completion tokens, in nats.
    pub loss: f64,
    /// Number of its completion tokens.
    pub tokens: u64,
}

/// One sample with its sampling weight: a row of the file that `curriculum` writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurriculumRow {
    /// The sample's stable number in its data file.
    pub idx: u64,
    /// Probability with which it is drawn; the weights of a file sum to 1.
    pub weight: f64,
    /// Its entropy under the weak model, in nats.
    pub entropy_weak: f64,
    /// Its entropy under the strong model, in nats.
    pub entropy_strong: f64,
}

/// Sampling weights, summing to 1, of samples with these entropies (nats), by the formula in the module's head.
///
/// # Errors
/// Lists of different lengths, an entropy or coefficient that is negative or not finite, and weights that are all zero.
pub fn weights(weak: &[f64], strong: &[f64], alpha: f64, beta: f64, gamma: f64) -> Result<Vec<f64>, Error> {
    check(weak, strong, [("alpha", alpha), ("beta", beta), ("gamma", gamma)])?;
    let change = || strong.iter().zip(weak).map(|(strong, weak)| strong - weak);
    let terms: [(f64, Vec<f64>); 3] = [
        (alpha, weak.to_vec()),
        (beta, change().map(|dh| (-dh).max(0.0)).collect()),
        (gamma, change().map(|dh| dh.max(0.0)).collect()),
    ];
    let mut weights = vec![0.0; weak.len()];
    for (coefficient, term) in &terms {
        let sum: f64 = term.iter().sum();
        if sum > 0.0 {
            for (weight, value) in weights.iter_mut().zip(term) {
                *weight += coefficient * (value / sum);
            }
        }
    }
    let total: f64 = weights.iter().sum();
    if total <= 0.0 {
        return Err(Error::AllZero { samples: weak.len() });
    }
    weights.iter_mut().for_each(|weight| *weight /= total);
    Ok(weights)
}

fn check(weak: &[f64], strong: &[f64], coefficients: [(&'static str, f64); 3]) -> Result<(), Error> {
    if weak.len() != strong.len() {
        return Err(Error::Lengths { weak: weak.len(), strong: strong.len() });
    }
    for (name, value) in coefficients {
        if !is_measure(value) {
            return Err(Error::Coefficient { name, value });
        }
    }
    if coefficients.iter().all(|(_, value)| *value == 0.0) {
        return Err(Error::Coefficient { name: "every one of alpha, beta and gamma", value: 0.0 });
    }
    for (model, entropies) in [("weak", weak), ("strong", strong)] {
        if let Some(sample) = entropies.iter().position(|entropy| !is_measure(*entropy)) {
            return Err(Error::Entropy { sample, model, value: entropies[sample] });
        }
    }
    Ok(())
}

fn is_measure(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

/// Kish's effective sample size `(sum w)^2 / sum w^2`: how many equally weighted samples carry as much information.
/// Zero when there is no weight at all.
pub fn effective_sample_size(weights: &[f64]) -> f64 {
    let sum: f64 = weights.iter().sum();
    let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

/// Reads what two models made of the same data and weighs every sample, in the order of the weak model's file.
///
/// # Errors
/// Those of [`read_entropies`] and [`weights`], and a sample that only one of the files has.
pub fn from_files(
    weak: &Path,
    strong: &Path,
    alpha: f64,
    beta: f64,
    gamma: f64,
) -> Result<Vec<CurriculumRow>, Error> {
    let weak_rows = read_entropies(weak)?;
    let strong_rows = read_entropies(strong)?;
    let weak_idx: HashMap<u64, f64> = weak_rows.iter().map(|row| (row.idx, row.entropy)).collect();
    let strong_idx: HashMap<u64, f64> = strong_rows.iter().map(|row| (row.idx, row.entropy)).collect();
    let missing = |idx: u64, missing_in: &Path, found_in: &Path| Error::Missing {
        idx,
        missing_in: missing_in.to_path_buf(),
        found_in: found_in.to_path_buf(),
    };
    if let Some(row) = strong_rows.iter().find(|row| !weak_idx.contains_key(&row.idx)) {
        return Err(missing(row.idx, weak, strong));
    }
    let mut rows = Vec::with_capacity(weak_rows.len());
    for row in &weak_rows {
        let entropy_strong = *strong_idx.get(&row.idx).ok_or_else(|| missing(row.idx, strong, weak))?;
        rows.push(CurriculumRow { idx: row.idx, weight: 0.0, entropy_weak: row.entropy, entropy_strong });
    }
    let of = |entropy: fn(&CurriculumRow) -> f64| rows.iter().map(entropy).collect::<Vec<f64>>();
    let weights = weights(&of(|row| row.entropy_weak), &of(|row| row.entropy_strong), alpha, beta, gamma)?;
    rows.iter_mut().zip(weights).for_each(|(row, weight)| row.weight = weight);
    Ok(rows)
}

/// Reads a file of `score`.
///
/// # Errors
/// Names the file and the line of what is not a row, an impossible entropy, or a sample that comes twice.
pub fn read_entropies(path: &Path) -> Result<Vec<EntropyRow>, Error> {
    const FIELDS: &str = "idx, entropy, loss and tokens";
    let check = |row: &EntropyRow| match is_measure(row.entropy) {
        true => Ok(row.idx),
        false => Err(format!("sample idx {}: entropy is {}, which is not 0 or more", row.idx, row.entropy)),
    };
    read_rows(path, FIELDS, check)
}

/// Reads a file of `curriculum`.
///
/// # Errors
/// Names the file and the line of what is not a row, a negative weight, or a sample that comes twice; and weights that
/// are all zero.
pub fn read_curriculum(path: &Path) -> Result<Vec<CurriculumRow>, Error> {
    const FIELDS: &str = "idx, weight, entropy_weak and entropy_strong";
    let check = |row: &CurriculumRow| match is_measure(row.weight) {
        true => Ok(row.idx),
        false => Err(format!("sample idx {}: weight is {}, which is not 0 or more", row.idx, row.weight)),
    };
    let rows = read_rows(path, FIELDS, check)?;
    match rows.iter().all(|row: &CurriculumRow| row.weight == 0.0) {
        true => Err(Error::AllZero { samples: rows.len() }),
        false => Ok(rows),
    }
}

/// Writes what `score` found. The file is written aside and renamed, so a file under this name is always whole.
///
/// # Errors
/// [`Error::Io`] with the file's name.
pub fn write_entropies(path: &Path, rows: &[EntropyRow]) -> Result<(), Error> {
    write_rows(path, rows)
}

/// Writes what `curriculum` found, as [`write_entropies`] does.
///
/// # Errors
/// [`Error::Io`] with the file's name.
pub fn write_curriculum(path: &Path, rows: &[CurriculumRow]) -> Result<(), Error> {
    write_rows(path, rows)
}

/// `check` gives a row's sample number or says what is wrong with the row.
fn read_rows<T: DeserializeOwned>(
    path: &Path,
    wanted: &'static str,
    check: impl Fn(&T) -> Result<u64, String>,
) -> Result<Vec<T>, Error> {
    let io_error = |source| Error::Io { path: path.to_path_buf(), source };
    let mut file = BufReader::new(File::open(path).map_err(io_error)?);
    let (mut rows, mut lines_of, mut bytes) = (Vec::new(), HashMap::new(), Vec::new());
    for line in 1.. {
        bytes.clear();
        let read = file.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut bytes).map_err(io_error)?;
        let wrong = |message| Error::Row { path: path.to_path_buf(), line, message, wanted };
        match read as u64 {
            0 => break,
            read if read > MAX_LINE_BYTES => {
                return Err(wrong(format!("longer than {MAX_LINE_BYTES} bytes")));
            }
            _ if bytes.trim_ascii().is_empty() => continue,
            _ => {}
        }
        let row: T = serde_json::from_slice(&bytes).map_err(|error| wrong(json_message(&error)))?;
        let idx = check(&row).map_err(wrong)?;
        if let Some(first) = lines_of.insert(idx, line) {
            return Err(Error::Duplicate { path: path.to_path_buf(), line, first, idx });
        }
        rows.push(row);
    }
    match rows.is_empty() {
        true => Err(Error::Empty { path: path.to_path_buf() }),
        false => Ok(rows),
    }
}

/// The parser only ever sees one line, so its own "at line 1 column n" would mislead: keep the column.
fn json_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let reason = message.split(" at line ").next().unwrap_or_default();
    format!("{reason} (column {})", error.column())
}

fn write_rows<T: Serialize>(path: &Path, rows: &[T]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".partial");
        let mut file = BufWriter::new(File::create(&aside)?);
        for row in rows {
            serde_json::to_writer(&mut file, row)?;
            file.write_all(b"\n")?;
        }
        file.into_inner()?.sync_all()?;
        fs::rename(&aside, path)
    };
    write().map_err(|source| Error::Io { path: path.to_path_buf(), source })
}
