//! From settings to a phase on the device: opens model folders and data, claims the run's folder, fits the memory, and runs the
//! engine. Everything that can be wrong with a user's files is found here, before any long work.

pub mod advise;
pub mod arrange;
pub mod checkpoint;
pub mod choose;
pub mod folder;
pub mod models;
pub mod phase;
pub mod source;
pub mod trust;
pub mod tuning;
pub mod weak_states;

use std::{path::PathBuf, sync::atomic::AtomicBool};

pub use arrange::{Limits, arrange};
pub use checkpoint::{Checkpoints, Files, fingerprint};
pub use folder::{Standing, standing};
pub use models::{Models, outline};
pub use phase::{Evaluation, Trained, choose_order, dataset, evaluate, score, train};
pub use source::{Source, Tuned, open_adapter};
pub use trust::heeding;
pub use tuning::{effort, tune};
pub use weak_states::states_peak;

use crate::{
    data, eval, formats,
    gpu::{self, Gpu},
    model,
    report::{self, Report},
    settings,
    train::{Error as TrainError, engine},
};

/// What every phase works with.
pub struct Context<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// Where events go.
    pub report: &'a mut Report,
    /// Set when the user wants to stop.
    pub stop: &'a AtomicBool,
    /// Time the device by kernel in training phases.
    pub profile: bool,
}

/// What can stop a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings.
    #[error(transparent)]
    Config(#[from] settings::Error),
    /// A model's `config.json`.
    #[error(transparent)]
    Shape(#[from] model::config::Error),
    /// Weights or checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] formats::Error),
    /// Tokenizer, template or data file.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// A task, its prompts or its record.
    #[error(transparent)]
    Eval(#[from] eval::Error),
    /// No way to run programs safely.
    #[error(transparent)]
    Sandbox(#[from] eval::sandbox::Error),
    /// A grader that cannot be run.
    #[error(transparent)]
    Grader(#[from] eval::grader::Error),
    /// Memory or device.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// Device.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// Training itself.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// `--resume` with other settings.
    #[error(
        "{}: this checkpoint was made with {field} = {was}, the run has {is}; resume with the same settings, or use \
         another --out",
        path.display()
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        field: String,
        /// In the checkpoint.
        was: String,
        /// Now.
        is: String,
    },
    /// Output.
    #[error(transparent)]
    Report(#[from] report::Error),
    /// A mistake in flags that only shows when they are read together.
    #[error("{0}")]
    Usage(String),
    /// Something a user has to mend.
    #[error("{0}")]
    User(String),
    /// Stopped on request; what was done is saved.
    #[error("interrupted{0}")]
    Interrupted(String),
}

impl Error {
    /// An interruption with how to go on after it; any other error as it is.
    pub fn and(self, advice: &str) -> Self {
        match self {
            Self::Interrupted(when) => Self::Interrupted(format!("{when}; {advice}")),
            other => other,
        }
    }
}
