//! From settings to what runs on a device: model folders and data are opened, the memory is planned, kernels are chosen, weights
//! are loaded. Everything that can be wrong with a user's files is found here, before any long work.

mod advise;
mod checkpoint;
mod choose;
mod context;
mod digest;
mod directory;
mod error;
mod examples;
mod faults;
mod hidden_cache;
pub(crate) mod key;
mod measure;
mod memory;
mod models;
mod outline;
mod phase;
mod planned;
mod source;
mod tuning;

pub use checkpoint::{Checkpoints, layout_of};
pub use context::Context;
pub use directory::{Directory, State};
pub(crate) use directory::{is_model, remove_partial, write};
pub use error::Error;
pub use examples::{choose_order, dataset, epochs, order};
pub use hidden_cache::{peak as cache_peak, seen};
pub use measure::{Evaluation, evaluate, score};
pub use memory::Limits;
pub use models::Models;
pub(crate) use models::{missing, same_tokens};
pub use outline::outline;
pub(crate) use phase::check_fits;
pub use phase::{Trained, Training};
pub use planned::{Planned, Session, slots};
pub use source::{Files, Source, Tuned, shape};
pub use tuning::{effort, half, recall};
