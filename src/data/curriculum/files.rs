//! The two JSONL files: what `score` found of each sample, and what `curriculum` made of it.
//!
//! Fields that are not known are ignored, so that a file may carry more than we read.

use std::collections::HashMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::error::Error;
use super::super::jsonl::{self, Lines};
use super::measure::{all_zero, is_measure};

/// A row of these files takes about 120 bytes; a longer line is another kind of file.
const MAX_LINE_BYTES: u64 = 64 * 1024;

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
    /// Its entropy under the oldest model, in nats, where more than the weak and the strong one were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy_earliest: Option<f64>,
    /// Its entropy under the weak model, in nats; the strong one's where only one model was asked.
    pub entropy_weak: f64,
    /// Its entropy under the strong model, in nats.
    pub entropy_strong: f64,
}

/// Reads a file of `score`.
///
/// # Errors
/// Names the file and the line of what is not a row, an impossible entropy, or a sample that comes twice.
pub fn read_entropies(path: &Path) -> Result<Vec<EntropyRow>, Error> {
    read_rows(path, "idx, entropy, loss and tokens", |row: &EntropyRow| (row.idx, "entropy", row.entropy))
}

/// Reads a file of `curriculum`.
///
/// # Errors
/// Names the file and the line of what is not a row, an impossible weight, or a sample that comes twice; no weight is
/// above zero.
pub fn read_curriculum(path: &Path) -> Result<Vec<CurriculumRow>, Error> {
    let wanted = "idx, weight, entropy_weak and entropy_strong";
    let rows = read_rows(path, wanted, |row: &CurriculumRow| (row.idx, "weight", row.weight))?;
    if rows.iter().all(|row| row.weight == 0.0) { Err(all_zero(rows.len())) } else { Ok(rows) }
}

/// Writes what `score` found. A file under this name is always whole.
///
/// # Errors
/// Names the file that cannot be written.
pub fn write_entropies(path: &Path, rows: &[EntropyRow]) -> Result<(), Error> {
    jsonl::write(path, rows)
}

/// Writes what `curriculum` found, as [`write_entropies`] does.
///
/// # Errors
/// Names the file that cannot be written.
pub fn write_curriculum(path: &Path, rows: &[CurriculumRow]) -> Result<(), Error> {
    jsonl::write(path, rows)
}

/// `measure` gives a row's sample number, and the name and value of what must be 0 or more.
fn read_rows<T: DeserializeOwned>(
    path: &Path,
    wanted: &str,
    measure: impl Fn(&T) -> (u64, &'static str, f64),
) -> Result<Vec<T>, Error> {
    let mut lines = Lines::open(path, MAX_LINE_BYTES)?;
    let (mut rows, mut lines_of) = (Vec::new(), HashMap::new());
    let row_of = |problem| format!("{problem}; every line must be a JSON object with {wanted}");
    while let Some(text) = lines.next()? {
        let row: T = serde_json::from_str(&text).map_err(|error| lines.wrong(row_of(jsonl::problem(&error))))?;
        let (idx, name, value) = measure(&row);
        if !is_measure(value) {
            let problem = format!("sample idx {idx}: {name} is {value}, which is not 0 or more");
            return Err(lines.wrong(row_of(problem)));
        }
        if let Some(first) = lines_of.insert(idx, lines.line) {
            let problem =
                format!("sample idx {idx} stands there a second time (first in line {first}); keep one of them");
            return Err(lines.wrong(problem));
        }
        rows.push(row);
    }
    if rows.is_empty() { Err(Error::malformed(path, "holds no rows")) } else { Ok(rows) }
}
