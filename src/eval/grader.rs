//! An external command that says whether an answer is right.
//!
//! One process per answer, without a shell. It gets one JSON line on its standard input:
//!
//! ```text
//! {"id": "17", "question": "...", "gold": "...", "answer": "..." or null, "text": "..."}
//! ```
//!
//! and prints `{"correct": true}` or `{"correct": false}` as its last line, ending with code 0. Whatever else it does
//! (crash, hang, print something else) leaves that answer [`Verdict::Undecided`], never wrong. It is the user's own
//! program and runs as such: not shut in, with the user's environment.

use std::process::Command;
use std::time::Duration;

use answers::Verdict;
use serde::{Deserialize, Serialize};

use super::sandbox::child::{self, Bounds, End};
use super::sandbox::isolation::which;

const OUTPUT_BYTES: usize = 16 << 10;

/// One answer to grade, as the grader reads it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Question<'a> {
    /// Which problem.
    pub id: &'a str,
    /// What was asked.
    pub question: &'a str,
    /// The right answer.
    pub gold: &'a str,
    /// The answer that was read out of `text`, if one was.
    pub answer: Option<&'a str>,
    /// All that the model wrote.
    pub text: &'a str,
}

/// Why a grader cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its quotes are unbalanced.
    #[error("grader {line:?}: {source}; quote arguments as in a shell")]
    Quotes {
        /// The command line.
        line: String,
        /// What is wrong with it.
        source: shell_words::ParseError,
    },
    /// Nothing to run.
    #[error("grader {line:?}: no program named {program:?} is there; give its path or put it on the PATH")]
    Missing {
        /// The command line.
        line: String,
        /// Its first word.
        program: String,
    },
}

/// A command that grades.
#[derive(Debug, Clone)]
pub struct Grader {
    program: String,
    arguments: Vec<String>,
    bounds: Bounds,
}

#[derive(Deserialize)]
struct Reply {
    correct: bool,
}

impl Grader {
    /// A grader from its command line, split into words as a shell does but without one, with `seconds` for each answer.
    pub fn command(line: &str, seconds: u32) -> Result<Self, Error> {
        let words = shell_words::split(line).map_err(|source| Error::Quotes { line: line.into(), source })?;
        let mut words = words.into_iter();
        let program = words.next().unwrap_or_default();
        if program.is_empty() || which(&program).is_none() {
            return Err(Error::Missing { line: line.into(), program });
        }
        let time = Duration::from_secs(seconds.into());
        let bounds = Bounds { time, output_bytes: OUTPUT_BYTES, resident_bytes: None };
        Ok(Self { program, arguments: words.collect(), bounds })
    }

    /// Asks about one answer. Several threads may ask at once.
    pub fn grade(&self, question: &Question<'_>) -> Verdict {
        self.ask(question).unwrap_or_else(Verdict::Undecided)
    }

    fn ask(&self, question: &Question<'_>) -> Result<Verdict, String> {
        let input = serde_json::to_string(question).map_err(|error| error.to_string())? + "\n";
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        let finished = child::run(command, input, &self.bounds)
            .map_err(|error| format!("grader {} could not be run: {error}", self.program))?;
        let status = match finished.end {
            End::Exited(status) if status.success() => status,
            End::Exited(status) => return Err(format!("the grader ended with {status}{}", last(&finished.stderr))),
            _ => return Err(format!("the grader gave no verdict within {} s", self.bounds.time.as_secs())),
        };
        let line = finished.stdout.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        match serde_json::from_str(line) {
            Ok(Reply { correct }) => Ok(Verdict::of(correct)),
            Err(error) => Err(format!(
                "the grader ended with {status}, but its last line is no {{\"correct\": true|false}}: {error}{}",
                last(&finished.stderr)
            )),
        }
    }
}

/// The last line that it printed as an error, to go after a colon.
fn last(stderr: &str) -> String {
    let line = stderr.lines().rev().find(|line| !line.trim().is_empty());
    line.map_or_else(String::new, |line| format!(": {}", line.trim().chars().take(300).collect::<String>()))
}
