//! Model families, one file each: how a `config.json` becomes layers, and how checkpoints name what the layers have.
//!
//! To add one, write its [`Family`] constant and list it in `FAMILIES`. No other file may match on a family's name.

mod gemma2;
mod gemma3;
mod lfm2;
mod llama;
mod mistral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
mod smollm3;

use super::config::Family;

/// Every family that can be trained, in the order in which messages list them.
pub(crate) const FAMILIES: &[&Family] = &[
    &qwen3::FAMILY,
    &qwen2::FAMILY,
    &llama::FAMILY,
    &mistral::FAMILY,
    &gemma3::FAMILY,
    &gemma2::FAMILY,
    &phi3::FAMILY,
    &olmo2::FAMILY,
    &smollm3::FAMILY,
    &lfm2::FAMILY,
];
