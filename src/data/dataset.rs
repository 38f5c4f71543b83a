//! Data files to examples: token ids with a mask of those that are trained.
//!
//! A file has one JSON object per line (LF or CRLF; blank lines are skipped, a byte order mark is tolerated):
//!
//! | fields | what is trained |
//! |---|---|
//! | `messages` (and `tools`) | the assistant's turns with their end-of-turn token |
//! | `prompt`, `completion` | the completion and the EOS that is appended to it |
//! | `text` | every token but the first, and the EOS that is appended |
//!
//! A row that holds several of these is read as the first of them. A prompt gets the special tokens that the tokenizer
//! puts *before* a text; those it puts after one would stand between prompt and completion and are left out. EOS is not
//! appended a second time. `idx` is a row's stable number, else it is the count of the rows before it.

mod row;
mod turns;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::Error;
use super::template::{Moment, on_big_stack};
use super::tokenizer::Tokenizer;
use crate::choice::choices;

/// The longest line of a data file, in bytes.
const MAX_LINE: u64 = 16 << 20;

choices! {
    /// What becomes of an example that is longer than the model is to see.
    pub enum Overlength {
        /// Its first `max_length` tokens are kept
        Truncate = "truncate",
        /// It is left out, and counted
        Drop = "drop",
        /// The run stops and names it
        Error = "error",
    }
}

/// How a data file is read.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The most tokens of an example.
    pub max_length: usize,
    /// What to do with longer ones.
    pub overlength: Overlength,
    /// The rows of the model's embedding table, which no token id may reach; `None` where there is no model.
    pub vocab: Option<usize>,
    /// The date that a chat template may ask for.
    pub now: Moment,
}

/// One example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The row's stable number.
    pub idx: u64,
    /// Its line in the file, from 1.
    pub line: usize,
    /// Token ids.
    pub ids: Vec<u32>,
    /// `trained[i]`: token `i` is a target of the loss. The first token never is.
    pub trained: Vec<bool>,
}

impl Example {
    /// The number of tokens that are targets of the loss.
    pub fn targets(&self) -> usize {
        self.trained.iter().filter(|&&trained| trained).count()
    }
}

/// What became of a file's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rows read.
    pub rows: usize,
    /// Examples kept.
    pub kept: usize,
    /// Examples kept without their end.
    pub truncated: usize,
    /// Examples left out because they are too long.
    pub dropped: usize,
    /// Examples left out because nothing of them is trained.
    pub empty: usize,
    /// Tokens of the kept examples.
    pub tokens: usize,
    /// Targets of the kept examples.
    pub targets: usize,
    /// Tokens of the longest row, before truncation.
    pub longest: usize,
}

/// The examples of a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// The examples that are kept; each has a target.
    pub examples: Vec<Example>,
    /// What became of the rows.
    pub counts: Counts,
}

/// Reads a data file. See the module for its form.
///
/// Errors name file, line, field and what to do. Rows without anything to train are left out and counted.
pub fn load(path: &Path, tokenizer: &Tokenizer, options: &Options) -> Result<Dataset, Error> {
    on_big_stack(|| read(path, tokenizer, options))?
}

fn read(path: &Path, tokenizer: &Tokenizer, options: &Options) -> Result<Dataset, Error> {
    let file = File::open(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    let mut lines = Lines { path: path.to_path_buf(), reader: BufReader::new(file), line: 0 };
    let mut dataset = Dataset { examples: Vec::new(), counts: Counts::default() };
    let mut seen: HashMap<u64, usize> = HashMap::new();
    while let Some(text) = lines.next()? {
        let line = lines.line;
        let at = |problem: String| Error::Row { path: path.to_path_buf(), line, problem };
        let number = dataset.counts.rows as u64;
        dataset.counts.rows += 1;
        let row = row::Row::parse(&text, number).map_err(at)?;
        if let Some(first) = seen.insert(row.idx, line) {
            return Err(at(format!(
                "field `idx`: {} is also the number of line {first}; give every row its own",
                row.idx
            )));
        }
        let (ids, trained) = row.content.tokens(tokenizer, options.now).map_err(at)?;
        let example = Example { idx: row.idx, line, ids, trained };
        dataset.take(example, options).map_err(at)?;
    }
    Ok(dataset)
}

impl Dataset {
    fn take(&mut self, mut example: Example, options: &Options) -> Result<(), String> {
        let (length, limit) = (example.ids.len(), options.max_length);
        self.counts.longest = self.counts.longest.max(length);
        check_vocabulary(&example.ids, options.vocab)?;
        if let Some(first) = example.trained.first_mut() {
            *first = false;
        }
        if example.targets() == 0 {
            self.counts.empty += 1;
            return Ok(());
        }
        if length > limit {
            match options.overlength {
                Overlength::Truncate => {
                    example.ids.truncate(limit);
                    example.trained.truncate(limit);
                }
                Overlength::Drop => {
                    self.counts.dropped += 1;
                    return Ok(());
                }
                Overlength::Error => {
                    return Err(format!(
                        "the example has {length} tokens, more than the {limit} allowed; raise the length, shorten the \
                         row, or choose to truncate or drop such rows"
                    ));
                }
            }
        }
        let targets = example.targets();
        if targets == 0 {
            self.counts.empty += 1;
            return Ok(());
        }
        self.counts.truncated += usize::from(length > limit);
        self.counts.kept += 1;
        self.counts.tokens += example.ids.len();
        self.counts.targets += targets;
        self.examples.push(example);
        Ok(())
    }
}

fn check_vocabulary(ids: &[u32], vocab: Option<usize>) -> Result<(), String> {
    let outside = vocab.and_then(|vocab| ids.iter().find(|&&id| id as usize >= vocab).map(|id| (id, vocab)));
    outside.map_or(Ok(()), |(id, vocab)| {
        Err(format!(
            "token {id} is outside the model's vocabulary of {vocab}; the tokenizer belongs to another model, or the \
             model needs a larger embedding"
        ))
    })
}

/// The lines of a data file that hold something.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    /// The number of the last line read, from 1.
    line: usize,
}

impl Lines {
    fn next(&mut self) -> Result<Option<String>, Error> {
        loop {
            let mut bytes = Vec::new();
            let read = (&mut self.reader).take(MAX_LINE + 1).read_until(b'\n', &mut bytes);
            read.map_err(|source| Error::Read { path: self.path.clone(), source })?;
            if bytes.is_empty() {
                return Ok(None);
            }
            self.line += 1;
            let at = |problem: String| Error::Row { path: self.path.clone(), line: self.line, problem };
            if bytes.len() as u64 > MAX_LINE {
                return Err(at(format!("the line has more than {MAX_LINE} bytes; split the row")));
            }
            let text = String::from_utf8(bytes).map_err(|e| {
                at(format!("is not UTF-8 text at byte {}; convert the file", e.utf8_error().valid_up_to()))
            })?;
            let text = if self.line == 1 { text.trim_start_matches('\u{FEFF}') } else { &text };
            if !text.trim().is_empty() {
                return Ok(Some(text.trim().to_string()));
            }
        }
    }
}
