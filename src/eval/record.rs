//! One line of JSON per judged problem, written as it is judged, so that a run that is stopped goes on where it was.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use answers::Verdict;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::stats::{self, Interval};
use super::{error::Error, graded::Graded};

/// A sample: what was generated, what it answers, what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The generated text.
    pub text: String,
    /// The answer found in it.
    pub extracted: Option<String>,
    /// `verdict` and, where undecided, `reason`.
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl Sample {
    /// A generated text with its judgement.
    pub fn new(text: String, graded: Graded) -> Self {
        Self { text, extracted: graded.extracted, verdict: graded.verdict }
    }
}

/// A problem's line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The problem.
    pub id: String,
    /// SHA-256 of the prompt, in hexadecimal.
    pub prompt_sha256: String,
    /// The gold answer.
    pub gold: String,
    /// Number of samples.
    pub n: usize,
    /// Number of correct ones.
    pub c: usize,
    /// The samples.
    pub samples: Vec<Sample>,
}

impl Row {
    /// A problem's line, with its samples counted.
    pub fn new(id: String, prompt: &str, gold: String, samples: Vec<Sample>) -> Self {
        let c = samples.iter().filter(|sample| sample.verdict == Verdict::Correct).count();
        Self { id, prompt_sha256: prompt_sha256(prompt), gold, n: samples.len(), c, samples }
    }
}

/// SHA-256 of a prompt, in hexadecimal.
pub fn prompt_sha256(prompt: &str) -> String {
    Sha256::digest(prompt.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The open record of a run.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    file: File,
}

/// The most that is read back of a record. Bytes.
const LIMIT: u64 = 4 << 30;

impl Record {
    /// Opens the record at `path` and reads back the problems it has. Its first line is `settings` (task, model,
    /// prompt style, sampling and whatever else makes figures comparable); a record that was begun with others is
    /// refused. A last line that a crash has torn is cut off.
    pub fn open(path: &Path, settings: &Value) -> Result<(Self, Vec<Row>), Error> {
        let read = |source| Error::Read { path: path.to_path_buf(), source };
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(read)?;
        let mut bytes = Vec::new();
        (&mut file).take(LIMIT + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 > LIMIT {
            return Err(Error::File {
                path: path.into(),
                problem: "is too large for a record of an evaluation".into(),
            });
        }
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if end == 0 && !is_torn_head(&bytes) {
            let problem = "is not a record of an evaluation; choose another file to write to".into();
            return Err(Error::File { path: path.into(), problem });
        }
        let mut record = Self { path: path.to_path_buf(), file };
        let rows = rows(path, &bytes[..end], settings)?;
        let cut = record.file.set_len(end as u64).and_then(|()| record.file.seek(SeekFrom::End(0)));
        cut.map_err(|e| record.failed(e))?;
        if end == 0 {
            record.line(&Header { settings: settings.clone() })?;
        }
        Ok((record, rows))
    }

    /// Writes a problem's line and hands it to the system before it returns.
    pub fn write(&mut self, row: &Row) -> Result<(), Error> {
        self.line(row)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let mut text = serde_json::to_string(line).map_err(|e| self.failed(e.into()))?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(|e| self.failed(e))
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Write { path: self.path.clone(), source }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    settings: Value,
}

/// Whether a file without a whole line is what a crash left of a record's first one.
fn is_torn_head(bytes: &[u8]) -> bool {
    const HEAD: &[u8] = br#"{"settings":"#;
    let common = bytes.len().min(HEAD.len());
    bytes[..common] == HEAD[..common]
}

fn rows(path: &Path, bytes: &[u8], settings: &Value) -> Result<Vec<Row>, Error> {
    let mut rows: Vec<Row> = Vec::new();
    let mut ids = HashSet::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let wrong = |problem| Error::Row { path: path.to_path_buf(), place: format!("line {}", at + 1), problem };
        if at == 0 {
            let header: Header = serde_json::from_slice(line)
                .map_err(|_| wrong("is not the head of a record; choose another file to write to".into()))?;
            if let Some(problem) = other_settings(&header.settings, settings) {
                return Err(wrong(problem));
            }
            continue;
        }
        let row: Row = serde_json::from_slice(line).map_err(|e| wrong(format!("is not a judged problem: {e}")))?;
        if row.n != row.samples.len() || row.c > row.n {
            return Err(wrong("`n` and `c` do not fit `samples`".into()));
        }
        if !ids.insert(row.id.clone()) {
            return Err(wrong(format!("problem `{}` stands here a second time", row.id)));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// The first setting in which the record and this run differ.
fn other_settings(begun: &Value, now: &Value) -> Option<String> {
    if begun == now {
        return None;
    }
    let keys = begun.as_object().into_iter().chain(now.as_object()).flat_map(|map| map.keys());
    let key = keys.into_iter().find(|key| begun.get(key) != now.get(key))?;
    let show = |value: &Value| value.get(key).map_or("nothing".into(), Value::to_string);
    let (then, this) = (show(begun), show(now));
    Some(format!("the record was begun with `{key}` = {then}, this run has {this}; choose another file to write to"))
}

/// pass@k for one k.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PassAtK {
    /// Samples allowed.
    pub k: usize,
    /// Mean over the problems.
    pub pass: f64,
    /// 95% bootstrap interval over problems.
    pub interval: Interval,
}

/// The scores of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The task.
    pub task: String,
    /// Problems judged.
    pub problems: usize,
    /// Samples per problem.
    pub samples: usize,
    /// Mean over problems of the share of correct samples: mean@k with k = `samples`.
    pub mean: f64,
    /// Its 95% bootstrap interval over problems.
    pub mean_interval: Interval,
    /// pass@k for k = 1, 2, 4, ... and `samples`.
    pub pass_at_k: Vec<PassAtK>,
    /// Correct samples.
    pub correct: usize,
    /// Wrong samples.
    pub wrong: usize,
    /// Undecided samples; they count as not correct in every score above.
    pub undecided: usize,
}

/// The level of the intervals of a summary.
const LEVEL: f64 = 0.95;

impl Summary {
    /// Sums up the rows of a run.
    ///
    /// Errors where there are none, or where problems have different numbers of samples.
    pub fn new(task: &str, rows: &[Row], resamples: usize, seed: u64) -> Result<Self, Error> {
        let samples = rows.first().map_or(0, |row| row.n);
        if samples == 0 {
            return Err(Error::Argument("no problem has been judged".into()));
        }
        if let Some(row) = rows.iter().find(|row| row.n != samples) {
            let counts = format!("{} samples, others {samples}", row.n);
            return Err(Error::Argument(format!("problem `{}` has {counts}; scores need as many for each", row.id)));
        }
        let shares = shares(rows);
        let count = |wanted: fn(&Verdict) -> bool| {
            rows.iter().flat_map(|row| &row.samples).filter(|sample| wanted(&sample.verdict)).count()
        };
        let mut pass_at_k = Vec::new();
        for k in std::iter::successors(Some(1), |k| Some(k * 2)).take_while(|k| *k < samples).chain([samples]) {
            let passes: Vec<f64> = rows.iter().filter_map(|row| stats::pass_at_k(row.n, row.c, k)).collect();
            let interval = stats::bootstrap(&passes, resamples, LEVEL, seed)?;
            pass_at_k.push(PassAtK { k, pass: stats::mean(&passes).unwrap_or_default(), interval });
        }
        Ok(Self {
            task: task.to_owned(),
            problems: rows.len(),
            samples,
            mean: stats::mean(&shares).unwrap_or_default(),
            mean_interval: stats::bootstrap(&shares, resamples, LEVEL, seed)?,
            pass_at_k,
            correct: count(|verdict| *verdict == Verdict::Correct),
            wrong: count(|verdict| *verdict == Verdict::Wrong),
            undecided: count(|verdict| matches!(verdict, Verdict::Undecided(_))),
        })
    }
}

/// The share of correct samples of each problem: what [`stats::paired_bootstrap`] compares.
pub fn shares(rows: &[Row]) -> Vec<f64> {
    rows.iter().map(|row| row.c as f64 / row.n.max(1) as f64).collect()
}
