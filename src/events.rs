//! What happens in a run, as data, and the trait of what takes it. Rooms that compute emit events and know nothing else of
//! reporting.

use serde::{Deserialize, Serialize, Serializer};

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
    Saved {
        /// Where it is, in words.
        place: &'a str,
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
    /// Something that may not be what the user wants, and that the user can act on.
    Warning {
        /// Tells its kind to a program.
        code: WarningCode,
        /// What it is and what to do.
        text: &'a str,
    },
}

/// The kind of a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarningCode {
    /// Rows of a data file were cut or left out.
    Data,
    /// A checkpoint was passed over.
    Checkpoint,
    /// A number format or a kernel is not used on this device.
    Device,
    /// Nothing was profiled.
    NothingProfiled,
    /// A measurement is not what was published.
    Task,
}

/// Any error, of those that take events or keep checkpoints.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Takes the events of a run, and has the clock that times them.
pub trait Observer {
    /// Takes an event.
    fn event(&mut self, event: &Event<'_>) -> Result<(), BoxError>;

    /// Seconds since some moment.
    fn seconds(&self) -> f64;
}

/// A named number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    /// Its column in `metrics.jsonl`.
    pub name: &'static str,
    /// What it is.
    pub value: f64,
    /// Where a line has room for few numbers: what it is called there, and how many decimals it gets. `None`: it is left out.
    pub brief: Option<(&'static str, usize)>,
}

/// Named numbers, which are written as one map.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Numbers(pub Vec<Number>);

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|number| (number.name, number.value)))
    }
}

/// What each hook found, under its name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Looks(pub Vec<(&'static str, Numbers)>);

impl Serialize for Looks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, numbers)| (name, numbers)))
    }
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
    /// What the objective declares.
    #[serde(flatten)]
    pub metrics: Numbers,
    /// What gradients were held times, where that moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f64>,
    /// Whether gradients overflowed at that scale, so that the step changed nothing else.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// What was found by those that looked at the run after this step.
    #[serde(flatten)]
    pub looks: Looks,
}

/// Time on the device in some optimizer steps.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Profile {
    /// Optimizer steps.
    pub steps: u64,
    /// Whether the device's own clock was read. The host's includes the cost of a submission for every dispatch.
    pub device_clock: bool,
    /// Of all operations together.
    pub seconds: f64,
    /// Each kind of them, by falling time.
    pub ops: Vec<OpTime>,
}

/// Time of one kind of operation.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct OpTime {
    /// Its kernel, or `clear` or `copy`.
    pub op: String,
    /// How often it ran.
    pub dispatches: u64,
    /// On the device.
    pub seconds: f64,
    /// Of the time of all.
    pub share: f64,
}

impl Profile {
    /// Of `(op, dispatches, seconds)`.
    pub fn new<'a>(steps: u64, device_clock: bool, spent: impl Iterator<Item = (&'a str, u64, f64)>) -> Self {
        let spent: Vec<_> = spent.collect();
        let seconds: f64 = spent.iter().map(|(.., seconds)| seconds).sum();
        let share = |part: f64| if seconds > 0.0 { part / seconds } else { 0.0 };
        let op = |(op, dispatches, seconds): (&str, u64, f64)| OpTime {
            op: op.into(),
            dispatches,
            seconds,
            share: share(seconds),
        };
        let mut ops: Vec<OpTime> = spent.into_iter().map(op).collect();
        ops.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Self { steps, device_clock, seconds, ops }
    }
}
