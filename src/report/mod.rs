//! The only room that prints. Runs tell it what happens as [`Event`]s; verbs hand it their results.
//!
//! Progress goes to stderr, results go to stdout, the numbers of every step go to `metrics.jsonl`. Colours are for
//! terminals, and not where `NO_COLOR` is set. A reader that closes its end of a pipe is no error. This room decides
//! nothing: it gets numbers and shows them.

mod console;
mod format;
mod metrics;
mod print;
mod profile;

use std::path::PathBuf;

pub use crate::events::{Event, Number, Numbers, OpTime, Profile, Step};
pub use console::Console;
pub use format::{Table, bytes, count, duration};
pub use metrics::Metrics;
pub use print::{error, json, preview, printable, render_preview, text};

/// What can go wrong while reporting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of metrics could not be read or written.
    #[error("{}: {source}", path.display())]
    Metrics {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A profile could not be written.
    #[error("{}: {source}", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Standard output could not be written.
    #[error("standard output: {0}")]
    Stdout(#[source] std::io::Error),
}

/// Where a run's events go.
#[derive(Debug)]
pub struct Report {
    console: Console,
    metrics: Option<Metrics>,
}

impl Report {
    /// Events go to this console and to no file yet.
    pub fn new(console: Console) -> Self {
        Self { console, metrics: None }
    }

    /// From now on, steps go to this file too; None ends that.
    pub fn log_steps_to(&mut self, metrics: Option<Metrics>) {
        self.metrics = metrics;
    }

    /// Shows and logs what happened.
    ///
    /// # Errors
    /// A step that cannot be written to the file of metrics. The console never fails.
    pub fn event(&mut self, event: &Event<'_>) -> Result<(), Error> {
        self.console.event(event);
        match (event, &mut self.metrics) {
            (Event::Step(step), Some(metrics)) => metrics.write(step),
            _ => Ok(()),
        }
    }
}
