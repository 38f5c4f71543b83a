//! What can stop a run.

use std::path::PathBuf;

use crate::{
    data, eval, formats, gpu, model, report, settings,
    train::{self, engine},
};

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
    /// Training itself.
    #[error(transparent)]
    Train(#[from] train::Error),
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
