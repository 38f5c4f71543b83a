//! Low-rank adaptation (LoRA, Hu et al. 2021, arXiv 2106.09685) in two ops, so that matrices stored as parts of one share
//! the first:
//!
//! ```text
//! down = s A x'^T          A: [R, K], x' = x, or x with dropout
//! y    = x W^T + b + down^T B^T
//! ```
//!
//! `B^T: [R, N]` and `down: [R, T]` lie with their rank along rows: every product then has full rows of tokens or channels,
//! and no product's tile is as narrow as the rank. Gradients, with `du = B^T dy^T` that of `down`:
//! `dB^T = down dy`, `dA = s du x'`, `dx += s du^T A` (through dropout's mask), and those of `linear`.

use super::{Dropout, dropout::Part, expect_shape, linear, matmul, matmul::Product, scale};
use crate::{
    tape::{Backward, Gradient, Op, Tape},
    tensor::Tensor,
};

/// `s A x'^T`
struct Down {
    scale: f32,
    dropout: Option<Dropout>,
}

/// `x`: `[T, K]`, `a`: `[R, K]`; result `[R, T]`.
pub fn lora_down(tape: &mut Tape, x: Tensor, a: Tensor, scale: f32, dropout: Option<Dropout>) -> Tensor {
    expect_shape("lora_down", "a", a, a.rows, x.cols);
    tape.apply(Down { scale, dropout }, &[x, a])
}

impl Down {
    fn input(&self, tape: &mut Tape, x: Tensor) -> Tensor {
        self.dropout.map_or(x, |dropout| dropout.part(tape, x, Part::Kept))
    }
}

impl Op for Down {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let (x, a) = (inputs[0], inputs[1]);
        let kept = self.input(tape, x);
        let [product, down] = [0, 1].map(|_| tape.transient(a.rows, x.rows));
        matmul::nt(tape, a, kept, None, product, Product::dense(a.rows, x.rows, a.cols));
        scale::run(tape, product, down, self.scale, 0);
        vec![down]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        let (x, a) = (back.inputs[0], back.inputs[1]);
        let du = back.tape.transient(a.rows, x.rows);
        scale::run(back.tape, back.dy, du, self.scale, 0);
        if let Some(da) = back.gradient(1) {
            let kept = self.input(back.tape, x);
            let product = Product::dense(a.rows, a.cols, x.rows);
            matmul::nn(back.tape, du, kept, da.tensor, product.accumulate(da.accumulate));
        }
        if let Some(dx) = back.gradient(0) {
            let product = Product::dense(x.rows, x.cols, a.rows);
            match self.dropout {
                None => matmul::tn(back.tape, du, a, dx.tensor, product.accumulate(dx.accumulate)),
                Some(dropout) => {
                    let dkept = back.tape.transient(x.rows, x.cols);
                    matmul::tn(back.tape, du, a, dkept, product);
                    dropout.apply(back.tape, dkept, Part::Kept, dx);
                }
            }
        }
    }
}

/// `x W^T + b + down^T B^T`
struct Up;

/// `x`: `[T, K]`, `weight`: `[N, K]`, `added`: a bias `[1, N]` or a residual `[T, N]`, `down`: `[R, T]`, `b`: `[R, N]`; result
/// `[T, N]`.
pub fn lora_up(tape: &mut Tape, x: Tensor, weight: Tensor, added: Option<Tensor>, [down, b]: [Tensor; 2]) -> Tensor {
    expect_shape("lora_up", "weight", weight, weight.rows, x.cols);
    expect_shape("lora_up", "down", down, b.rows, x.rows);
    expect_shape("lora_up", "b", b, b.rows, weight.rows);
    linear::expect_addend("lora_up", added, x.rows, weight.rows);
    let inputs: Vec<_> = [x, weight, down, b].into_iter().chain(added).collect();
    tape.apply(Up, &inputs)
}

impl Op for Up {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let (x, weight) = (inputs[0], inputs[1]);
        let y = tape.transient(x.rows, weight.rows);
        matmul::nt(tape, x, weight, inputs.get(4).copied(), y, Product::dense(x.rows, weight.rows, x.cols));
        add_up(tape, [inputs[2], inputs[3]], y);
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        up_gradients(back, back.dy, [2, 3]);
        linear::gradients(back, back.dy, 4);
    }
}

/// `y += down^T B^T`
pub(super) fn add_up(tape: &mut Tape, [down, b]: [Tensor; 2], y: Tensor) {
    matmul::tn(tape, down, b, y, Product::dense(y.rows, y.cols, b.rows).accumulate(1));
}

/// The gradients of the inputs `down` and `b` where that of the product is `dy`.
pub(super) fn up_gradients(back: &mut Backward<'_>, dy: Tensor, [down_at, b_at]: [usize; 2]) {
    let (down, b) = (back.inputs[down_at], back.inputs[b_at]);
    if let Some(Gradient { tensor, accumulate }) = back.gradient(b_at) {
        let product = Product::dense(b.rows, b.cols, dy.rows);
        matmul::nn(back.tape, down, dy, tensor, product.accumulate(accumulate));
    }
    if let Some(Gradient { tensor, accumulate }) = back.gradient(down_at) {
        let product = Product::dense(b.rows, dy.rows, b.cols);
        matmul::nt(back.tape, b, dy, None, tensor, product.accumulate(accumulate));
    }
}
