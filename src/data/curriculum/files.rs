//! The two JSONL files: what `score` found of each sample, and what `curriculum` made of it.
//!
//! Fields that are not known are ignored, so that a file may carry more than we read.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Error, is_measure};

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
