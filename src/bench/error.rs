//! What can stop a benchmark.

use crate::{gpu, train::engine};

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
