//! `y = x W^T + b` with `W: [N, K]` as Hugging Face stores it.
//! Gradients: `dx = dy W`, `dW = dy^T x`, `db = column sums of dy`.

use super::{column_sum::column_sum, expect_shape, matmul, matmul::Product};
use crate::{
    tape::{Backward, Op, Tape},
    tensor::Tensor,
};

struct Linear;

/// `x`: `[T, K]`, `weight`: `[N, K]`, `bias`: `[1, N]`; result `[T, N]`.
pub fn linear(tape: &mut Tape, x: Tensor, weight: Tensor, bias: Option<Tensor>) -> Tensor {
    expect_shape("linear", "weight", weight, weight.rows, x.cols);
    let mut inputs = vec![x, weight];
    if let Some(bias) = bias {
        expect_shape("linear", "bias", bias, 1, weight.rows);
        inputs.push(bias);
    }
    tape.apply(Linear, &inputs)
}

impl Op for Linear {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let (x, weight) = (inputs[0], inputs[1]);
        let y = tape.transient(x.rows, weight.rows);
        matmul::nt(tape, x, weight, inputs.get(2).copied(), y, Product::dense(x.rows, weight.rows, x.cols));
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        gradients(back, back.dy, 2);
    }
}

/// The gradients of x and W, the first two inputs, and of the bias, input `bias_at` if there is one, where that of the
/// product is `dy`.
pub(super) fn gradients(back: &mut Backward<'_>, dy: Tensor, bias_at: usize) {
    let (x, weight) = (back.inputs[0], back.inputs[1]);
    if back.inputs.len() > bias_at
        && let Some(db) = back.gradient(bias_at)
    {
        column_sum(back.tape, dy, db);
    }
    if let Some(dw) = back.gradient(1) {
        let product = Product::dense(weight.rows, weight.cols, x.rows);
        matmul::tn(back.tape, dy, x, dw.tensor, product.accumulate(dw.accumulate));
    }
    if let Some(dx) = back.gradient(0) {
        let product = Product::dense(x.rows, x.cols, weight.rows);
        matmul::nn(back.tape, dy, weight, dx.tensor, product.accumulate(dx.accumulate));
    }
}
