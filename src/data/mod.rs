//! Data: tokenizers and chat templates, data files, masks, packed batches, the order of examples and their weights.
//!
//! Everything here runs on the CPU, gives the same for the same input on every machine and prints nothing. Files come from
//! strangers: what they can cost is bounded, and what is wrong with them is a typed error.

pub mod arithmetic;
pub mod curriculum;
pub mod dataset;
mod error;
mod jsonl;
pub mod pack;
pub mod preview;
pub mod random;
pub mod sampler;
pub mod template;
pub mod tokenizer;

pub use dataset::{Counts, Dataset, Example, Options, Overlength, load};
pub use error::Error;
pub use pack::{Batch, pack};
