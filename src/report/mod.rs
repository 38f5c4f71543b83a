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

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use console::Console;
pub use format::{Table, bytes, count, duration};
pub use metrics::Metrics;
pub use print::{error, json, preview, printable, render_preview, text};
pub use profile::{OpTime, Profile};

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

/// Something that happened in a run.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// A run begins.
    RunStarted {
        /// What it is, in a few words.
        title: &'a str,
        /// What a reader should know of it: names and values.
        facts: &'a [(&'a str, String)],
    },
    /// A phase of it begins.
    PhaseStarted {
        /// Its name.
        name: &'a str,
        /// What it counts: `step`, `sample`.
        unit: &'a str,
        /// How many of them there are.
        total: u64,
        /// How many of them a former run has already done.
        done: u64,
    },
    /// An optimizer step is done.
    Step(Box<Step>),
    /// Part of a phase without optimizer steps is done.
    Progress {
        /// Units done so far in this phase.
        done: u64,
        /// Tokens computed since the last event.
        tokens: u64,
        /// Seconds since the last event.
        seconds: f64,
    },
    /// A checkpoint is whole.
    CheckpointSaved {
        /// Its folder.
        path: &'a Path,
        /// The step after which it was taken.
        step: u64,
    },
    /// A phase ends.
    PhaseFinished {
        /// Its name.
        name: &'a str,
        /// How long it took.
        seconds: f64,
        /// What came of it, in a few words; may be empty.
        summary: &'a str,
    },
    /// The device memory that a phase took, in bytes.
    Memory {
        /// As planned.
        planned: u64,
        /// The most there was at a time.
        peak: u64,
        /// What wgpu's allocator held for it, where it tells.
        reserved: Option<u64>,
    },
    /// Where the device's time went in some steps.
    Profiled(&'a Profile),
    /// Something worth knowing.
    Note(&'a str),
    /// Something that may not be what the user wants.
    Warning(&'a str),
}

/// One optimizer step: a line of `metrics.jsonl`, where a number that is not finite becomes `null`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Step {
    /// Its number in the phase, from 1.
    pub step: u64,
    /// Mean loss over the step's target tokens.
    pub loss: f64,
    /// Global norm of the gradient, before clipping.
    pub grad_norm: f64,
    /// Learning rate of this step.
    pub lr: f64,
    /// Tokens computed in this step.
    pub tokens: u64,
    /// Seconds this step took.
    pub seconds: f64,
    /// The most device memory there was at a time so far, in bytes.
    pub peak_bytes: u64,
    /// The most that was planned.
    pub planned_bytes: u64,
    /// Target logit minus the largest other one, in what the loss is taken of.
    pub margin: f64,
    /// What is told of the model that learns; `None` where its logits exist in a mixture only.
    #[serde(flatten)]
    pub strong: Option<StrongStep>,
    /// What only a loss with a second set of logits has.
    #[serde(flatten)]
    pub mix: Option<MixStep>,
    /// What gradients were held times, where that moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f64>,
    /// Whether gradients overflowed at that scale, so that the step changed nothing else.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// What a look at the probe found, where it was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probed: Option<Probed>,
}

/// The strong model's logits: means over a step's target tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StrongStep {
    /// Its predictive entropy, in nats.
    pub entropy_strong: f64,
    /// Target logit.
    pub target_logit: f64,
    /// Mean of the others.
    pub other_logit: f64,
    /// Norm of the gradient of its own cross-entropy on the logits other than the target's.
    pub grad_non_target_alone: f64,
}

/// The numbers of a step of joint training or distillation: means over its target tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MixStep {
    /// Share of the strong model in the mixed logits; `None` beside a teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
    /// Predictive entropy of the mixture, in nats.
    pub entropy: f64,
    /// Norm of the gradient of the loss on the strong model's logits other than the target's.
    pub grad_non_target: f64,
    /// What is told of the second set of logits; `None` where it exists in a mixture only.
    #[serde(flatten)]
    pub weak: Option<WeakStep>,
}

/// The second set of logits: means over a step's target tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WeakStep {
    /// Predictive entropy of the weak model or teacher, in nats.
    pub entropy_weak: f64,
    /// Its target logit.
    pub target_logit_weak: f64,
    /// Mean of its other logits.
    pub other_logit_weak: f64,
    /// `grad_non_target` over `lambda grad_non_target_alone`: by how much the second set of logits amplifies that gradient.
    pub amplification: f64,
    /// Share of the weak model in the mixture's logit margin (target minus mean of the others): how far it shields the
    /// strong one from the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shielding: Option<f64>,
}

/// What became of a few fixed examples since the start of the phase.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probed {
    /// Mean logit, at the start, of each target's strongest other token.
    pub distractor_logit_start: f64,
    /// Mean logit of the same tokens now.
    pub distractor_logit: f64,
    /// By what share of the first it fell.
    pub distractor_fall: f64,
    /// By how much the mean of all logits moved, which softmax does not see.
    pub mean_logit_drift: f64,
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
