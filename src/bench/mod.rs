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
mod error;
mod file;
mod kernels;
mod measure;
mod models;
mod multiply_add;
mod oracle;
mod recorder;
mod results;
mod stats;
mod steps;
mod suite;
mod svg;

pub use case::{Case, Limit};
pub use ceilings::Ceilings;
pub use compare::{Comparison, Line};
pub use error::Error;
pub use file::FileError;
pub use kernels::cases as kernel_cases;
pub use multiply_add::MOST_TRIPS;
pub use recorder::Loaded;
pub use results::{Check, Entry, Machine, Results, SCHEMA, Skipped, Unit};
pub use stats::{Spread, drift, spread};
pub use steps::{StepCase, Trainer, cases as step_cases};
pub use suite::{Options, Suite, run};

use crate::gpu;

/// Checks an op of each kind against the CPU, and a training step against itself.
///
/// # Errors
/// If the device fails.
pub fn check(gpu: &gpu::Gpu) -> Result<Vec<Check>, Error> {
    checks::run(gpu)
}
