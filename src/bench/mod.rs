//! The portable benchmark suite: a device's own ceilings, kernels as shares of them, training steps of named model shapes,
//! and a check of the numbers it computed. People run it to compare machines, so a name means the same work everywhere.
//!
//! It measures with the host's clock around submissions long enough that their cost is small ([`Ceilings`] says how small)
//! and prints nothing. Files of results come from strangers: [`Results::open`] bounds and checks them.

mod case;
mod ceilings;
mod checks;
mod compare;
mod engines;
mod file;
mod kernels;
mod measure;
mod models;
mod oracle;
mod recorder;
mod results;
mod stats;
mod steps;
mod suite;
mod svg;

pub use case::{Case, Limit};
pub use ceilings::{Ceilings, MOST_TRIPS};
pub use compare::{Comparison, Line};
pub use file::FileError;
pub use kernels::cases as kernel_cases;
pub use recorder::Loaded;
pub use results::{Check, Entry, Machine, Results, SCHEMA, Skipped, Unit};
pub use stats::{Spread, drift, spread};
pub use steps::{StepCase, Trainer, cases as step_cases};
pub use suite::{Options, Suite, run};

use crate::{gpu, train::engine};

/// Checks an op of each kind against the CPU, and a training step against itself.
///
/// # Errors
/// If the device fails.
pub fn check(gpu: &gpu::Gpu) -> Result<Vec<Check>, Error> {
    checks::run(gpu)
}

/// What can stop the suite.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// A model's memory or shape.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The filter names nothing.
    #[error("nothing is called `{filter}`; the names are, among others: {}", names.join(", "))]
    Filter {
        /// What was asked for.
        filter: String,
        /// One name of each group.
        names: Vec<String>,
    },
    /// The user wants to stop.
    #[error("interrupted")]
    Interrupted,
}
