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
use std::path::Path;

use super::error::Error;
use super::template::{Moment, on_big_stack};
use super::tokenizer::Tokenizer;
use crate::choice::choices;
pub use row::{Content, JsonRows, Row, RowSource};

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
/// # Errors
/// Names file, line, field and what to do. Rows without anything to train are left out and counted.
pub fn load(path: &Path, tokenizer: &Tokenizer, options: &Options) -> Result<Dataset, Error> {
    on_big_stack(|| {
        let mut examples = Examples::new(JsonRows::open(path)?, tokenizer, options);
        let kept = examples.by_ref().collect::<Result<_, _>>()?;
        Ok(Dataset { examples: kept, counts: examples.counts })
    })?
}

/// The examples of a row source, one after the other.
pub struct Examples<'a, R> {
    rows: R,
    tokenizer: &'a Tokenizer,
    options: &'a Options,
    /// The line of each row's number.
    seen: HashMap<u64, usize>,
    /// What became of the rows so far.
    pub counts: Counts,
}

impl<'a, R: RowSource> Examples<'a, R> {
    /// Of rows that come from `rows`.
    pub fn new(rows: R, tokenizer: &'a Tokenizer, options: &'a Options) -> Self {
        Self { rows, tokenizer, options, seen: HashMap::new(), counts: Counts::default() }
    }

    /// The example of a row, if it is kept. The error is the problem, without file and line.
    fn example(&mut self, row: Row) -> Result<Option<Example>, String> {
        self.counts.rows += 1;
        let Row { idx, line, content } = row;
        if let Some(first) = self.seen.insert(idx, line) {
            return Err(format!("field `idx`: {idx} is also the number of line {first}; give every row its own"));
        }
        let (ids, mut trained) = content.tokens(self.tokenizer, self.options.now)?;
        let (length, limit) = (ids.len(), self.options.max_length);
        self.counts.longest = self.counts.longest.max(length);
        check_vocabulary(&ids, self.options.vocab)?;
        if let Some(first) = trained.first_mut() {
            *first = false;
        }
        let mut example = Example { idx, line, ids, trained };
        if example.targets() > 0 && length > limit {
            match self.options.overlength {
                Overlength::Truncate => {
                    example.ids.truncate(limit);
                    example.trained.truncate(limit);
                }
                Overlength::Drop => {
                    self.counts.dropped += 1;
                    return Ok(None);
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
            return Ok(None);
        }
        self.counts.truncated += usize::from(length > limit);
        self.counts.kept += 1;
        self.counts.tokens += example.ids.len();
        self.counts.targets += targets;
        Ok(Some(example))
    }
}

impl<R: RowSource> Iterator for Examples<'_, R> {
    type Item = Result<Example, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = match self.rows.next()? {
                Ok(row) => row,
                Err(error) => return Some(Err(error)),
            };
            let line = row.line;
            match self.example(row) {
                Ok(None) => {}
                Ok(Some(example)) => return Some(Ok(example)),
                Err(problem) => {
                    return Some(Err(Error::Row { path: self.rows.path().into(), line, problem }));
                }
            }
        }
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
