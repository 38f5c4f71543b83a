//! What runs a model without training it: entropies of samples, and text.

mod sampling;
pub mod score;
mod slots;

pub use sampling::Sampling;
pub use slots::{Next, Request, Slots, SlotsPlan, Written};
