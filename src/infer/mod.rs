//! What runs a model without training it: entropies of samples, and text.

pub mod generate;
pub mod score;
