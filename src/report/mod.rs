//! The only room that prints. Runs tell it what happens as [`Event`]s; verbs hand it their results.
//!
//! Progress goes to stderr, results go to stdout, the numbers of every step go to `metrics.jsonl`. Colours are for
//! terminals, and not where `NO_COLOR` is set. A reader that closes its end of a pipe is no error. This room decides
//! nothing: it gets numbers and shows them.

mod console;
mod format;
mod metrics;
mod plot;
mod print;
mod profile;

use std::{path::PathBuf, time::Instant};

use crate::events::{BoxError, Observer};
pub use crate::events::{Event, Number, Numbers, OpTime, Profile, Step, WarningCode};
pub use console::Console;
pub use format::{Table, bytes, count, duration};
pub use metrics::Metrics;
pub use plot::curves;
pub use print::{error, json, preview, printable, render_preview, text};
pub use profile::ProfileFile;

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

/// Takes the events of a run: a console, a file.
pub trait Sink {
    /// Takes an event.
    fn event(&mut self, event: &Event<'_>) -> Result<(), Error>;
}

/// Where a run's events go.
pub struct Report {
    console: Console,
    /// Of the phase that runs.
    files: Vec<Box<dyn Sink>>,
    started: Instant,
}

impl Report {
    /// Events go to this console and to no file yet.
    pub fn new(console: Console) -> Self {
        Self { console, files: Vec::new(), started: Instant::now() }
    }

    /// From now on, events go to these too, and to no file that was given before.
    pub fn attach(&mut self, files: Vec<Box<dyn Sink>>) {
        self.files = files;
    }

    /// Shows and logs what happened.
    ///
    /// # Errors
    /// An event that cannot be written to a file. The console never fails.
    pub fn event(&mut self, event: &Event<'_>) -> Result<(), Error> {
        let console: &mut dyn Sink = &mut self.console;
        let files = self.files.iter_mut().map(|file| &mut **file);
        [console].into_iter().chain(files).try_for_each(|sink| sink.event(event))
    }
}

impl Observer for Report {
    fn event(&mut self, event: &Event<'_>) -> Result<(), BoxError> {
        Ok(Self::event(self, event)?)
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
