//! AdamW with clipping by the global norm, and the schedule of its learning rate. Records onto a tape; steps nothing by
//! itself.

mod adamw;
mod groups;
mod schedule;

pub use adamw::{AdamW, HOST_SCALARS, LOSS_SCALING, Scalars, loss_scaling, schedule_tensor};
pub use groups::Width;
pub use schedule::{Decay, Schedule};
