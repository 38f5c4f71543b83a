//! Differentiable operations, one a file: forward and backward beside each other, the kernels in the WGSL file of the same
//! name. Ops know shapes and tensors, not models.

mod add;
mod attention;
mod blend;
mod cache;
mod causal_conv;
mod column_sum;
mod dequantize;
mod dora;
mod dropout;
mod embedding;
mod gated_mlp;
pub mod head_loss;
mod likeliest;
mod linear;
mod lora;
pub mod matmul;
mod noise;
mod norm_rope;
mod packed;
mod pick;
mod rms_norm;
mod rope;
mod scale;
mod text_positions;

mod width;

pub use add::add;
pub use attention::{Heads, Scores, attention, attention_forward};
pub use blend::blend;
pub use cache::append;
pub use causal_conv::{Ring, causal_conv, causal_conv_cached};
pub use dequantize::dequantize;
pub use dora::{Decomposed, dora};
pub use dropout::Dropout;
pub use embedding::embedding;
pub use gated_mlp::{Activation, gated_mlp};
pub use likeliest::likeliest;
pub use linear::linear;
pub use lora::{lora_down, lora_up};
pub use matmul::MAX_TERMS;
pub use noise::{Noise, noise};
pub use norm_rope::norm_rope;
pub use pick::pick;
pub use rms_norm::{Norm, add_norm, rms_norm};
pub use rope::{Rotary, rope};
pub use scale::scale;
pub use text_positions::text_positions;

use crate::{gpu::KernelGroup, graph::tensor::Tensor};

/// Every kernel that has variants.
pub fn groups() -> impl Iterator<Item = &'static KernelGroup> {
    matmul::GROUPS.iter().chain(attention::GROUPS.iter())
}

/// Fails with the op, the argument, what was expected and what came: a mistake in model code, never in a user's file.
#[track_caller]
fn expect_shape(op: &str, argument: &str, tensor: Tensor, rows: usize, cols: usize) {
    assert!(
        tensor.rows == rows && tensor.cols == cols,
        "{op}: `{argument}` must be [{rows}, {cols}], is [{}, {}]",
        tensor.rows,
        tensor.cols
    );
}
