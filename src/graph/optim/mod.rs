//! AdamW with clipping by the global norm, and the schedule of its learning rate. Records onto a tape; steps nothing by
//! itself.

mod adamw;
mod groups;
mod schedule;

pub use adamw::AdamW;
pub use groups::Width;
pub use schedule::{Decay, Schedule};
