//! Chooses the variants of kernels on the device at hand, by trying them on the shapes of a program.
//!
//! A variant is taken only if it is right: its results are those of the portable kernel but for rounding, at the shapes of the
//! program and at small ragged ones, twice with the same bits, with nothing written behind its outputs and nothing made of
//! what lies behind its inputs. Of those that are right the fastest is taken. It knows kernels and bytes, not models; it
//! prints nothing and touches no file.

mod benchmark;
mod cache;
mod choose;
mod compare;
mod effort;
mod scratch;
mod trial;

pub use cache::{Cache, Entry, Unusable, Wrong, device_key, wrong, wrong_text};
pub use choose::{Message, choose};
pub use effort::{Effort, Options};
pub use trial::{Validation, validate};
