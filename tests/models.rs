//! Whole models on the device: against PyTorch's golden numbers, against themselves in other arrangements, and through
//! training, resuming, exporting and generating.

mod common;

#[path = "models/adapters.rs"]
mod adapters;
#[path = "models/families.rs"]
mod families;
#[path = "models/generation.rs"]
mod generation;
#[path = "models/half.rs"]
mod half;
#[path = "models/held.rs"]
mod held;
#[path = "models/invariance.rs"]
mod invariance;
#[path = "models/kept.rs"]
mod kept;
#[path = "models/memory.rs"]
mod memory;
#[path = "models/methods.rs"]
mod methods;
#[path = "models/mixes.rs"]
mod mixes;
#[path = "models/quantised.rs"]
mod quantised;
#[path = "common/skip.rs"]
mod skip;
#[path = "models/streamed.rs"]
mod streamed;
#[path = "models/support.rs"]
mod support;
#[path = "models/training.rs"]
mod training;
#[path = "models/widths.rs"]
mod widths;
