//! `y = x W^T + b` with `W: [N, K]` as Hugging Face stores it, or `x W^T + r`, which spares a residual its own pass over memory.
//! Gradients: `dx = dy W`, `dW = dy^T x`, `db = column sums of dy`, `dr = dy`.

use super::{add::add_gradient, column_sum::column_sum, expect_shape, matmul, matmul::Product};
use crate::graph::{
    tape::{Backward, Op, Tape},
    tensor::Tensor,
};

struct Linear;

/// `x`: `[T, K]`, `weight`: `[N, K]`, `added`: a bias `[1, N]` or a residual `[T, N]`; result `[T, N]`.
pub fn linear(tape: &mut Tape, x: Tensor, weight: Tensor, added: Option<Tensor>) -> Tensor {
    expect_shape("linear", "weight", weight, weight.rows, x.cols);
    expect_addend("linear", added, x.rows, weight.rows);
    let inputs: Vec<_> = [x, weight].into_iter().chain(added).collect();
    tape.apply(Linear, &inputs)
}

/// What is added to a product of `rows` by `cols`: a bias or a residual.
pub(super) fn expect_addend(op: &str, added: Option<Tensor>, rows: usize, cols: usize) {
    if let Some(added) = added {
        let rows = if added.rows == 1 { 1 } else { rows };
        expect_shape(op, "addend", added, rows, cols);
    }
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

/// The gradients of x and W, the first two inputs, and of what is added, input `added_at` if there is one, where that of the
/// product is `dy`.
pub(super) fn gradients(back: &mut Backward<'_>, dy: Tensor, added_at: usize) {
    let (x, weight) = (back.inputs[0], back.inputs[1]);
    if let Some(dw) = back.gradient(1) {
        let product = Product::dense(weight.rows, weight.cols, x.rows);
        matmul::tn(back.tape, dy, x, dw.tensor, product.accumulate(dw.accumulate));
    }
    if let Some(dx) = back.gradient(0) {
        let product = Product::dense(x.rows, x.cols, weight.rows);
        matmul::nn(back.tape, dy, weight, dx.tensor, product.accumulate(dx.accumulate));
    }
    if back.inputs.len() > added_at {
        added_gradient(back, added_at);
    }
}

/// The gradient of input `i`, a bias or a residual, where that of the sum is the op's `dy`.
pub(super) fn added_gradient(back: &mut Backward<'_>, i: usize) {
    if back.inputs[i].rows == back.dy.rows {
        add_gradient(back, i);
    } else if let Some(db) = back.gradient(i) {
        column_sum(back.tape, back.dy, db);
    }
}
