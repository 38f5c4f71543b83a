//! Low-rank adaptation (LoRA, Hu et al. 2021, arXiv 2106.09685) in two ops, so that matrices stored as parts of one share
//! the first:
//!
//! ```text
//! down = s x' A^T          A: [R, K], x' = x, or x with dropout
//! y    = x W^T + b + down B^T
//! ```
//!
//! `down: [T, R]` has a row a token, so that any number of tokens goes through the kernels that read four numbers at a time;
//! `B^T: [R, N]` lies with its rank along rows as `A` does, so that both learn from products with full rows. Gradients, with
//! `du = dy B` that of `down`: `dB^T = down^T dy`, `dA = s du^T x'`, `dx += s du A` (through dropout's mask), and those of
//! `linear`.

use super::{Dropout, dropout::Part, expect_shape, linear, matmul, matmul::Product, scale};
use crate::graph::{
    tape::{Backward, Gradient, Op, Tape},
    tensor::Tensor,
};

/// `s x' A^T`
struct Down {
    scale: f32,
    dropout: Option<Dropout>,
}

/// `x`: `[T, K]`, `a`: `[R, K]`; result `[T, R]`.
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
        let [product, down] = [0, 1].map(|_| tape.transient(x.rows, a.rows));
        matmul::nt(tape, kept, a, None, product, Product::dense(x.rows, a.rows, a.cols));
        scale::run(tape, product, down, self.scale, 0);
        vec![down]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        let (x, a) = (back.inputs[0], back.inputs[1]);
        let du = back.tape.transient(x.rows, a.rows);
        scale::run(back.tape, back.dy, du, self.scale, 0);
        if let Some(da) = back.gradient(1) {
            let kept = self.input(back.tape, x);
            let product = Product::dense(a.rows, a.cols, x.rows);
            matmul::tn(back.tape, du, kept, da.tensor, product.accumulate(da.accumulate));
        }
        if let Some(dx) = back.gradient(0) {
            let product = Product::dense(x.rows, x.cols, a.rows);
            match self.dropout {
                None => matmul::nn(back.tape, du, a, dx.tensor, product.accumulate(dx.accumulate)),
                Some(dropout) => {
                    let dkept = back.tape.transient(x.rows, x.cols);
                    matmul::nn(back.tape, du, a, dkept, product);
                    dropout.apply(back.tape, dkept, Part::Kept, dx);
                }
            }
        }
    }
}

/// `x W^T + b + down B^T`
struct Up;

/// `x`: `[T, K]`, `weight`: `[N, K]`, `added`: a bias `[1, N]` or a residual `[T, N]`, `down`: `[T, R]`, `b`: `[R, N]`; result
/// `[T, N]`.
pub fn lora_up(tape: &mut Tape, x: Tensor, weight: Tensor, added: Option<Tensor>, [down, b]: [Tensor; 2]) -> Tensor {
    expect_shape("lora_up", "weight", weight, weight.rows, x.cols);
    expect_shape("lora_up", "down", down, x.rows, b.rows);
    expect_shape("lora_up", "b", b, b.rows, weight.rows);
    linear::expect_addend("lora_up", added, x.rows, weight.rows);
    let inputs: Vec<_> = [x, weight, down, b].into_iter().chain(added).collect();
    tape.apply(Up, &inputs)
}

impl Op for Up {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let (x, weight) = (inputs[0], inputs[1]);
        let y = tape.transient(x.rows, weight.rows);
        let product = up(tape, [inputs[2], inputs[3]], y, x.cols);
        matmul::nt(tape, x, weight, inputs.get(4).copied(), y, product);
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        up_gradients(back, back.dy, [2, 3]);
        linear::gradients(back, back.dy, 4);
    }
}

/// `y = down B^T`, and the product with the weight that adds to it: software drivers' products read Y anyway, this one does
/// not.
pub(super) fn up(tape: &mut Tape, [down, b]: [Tensor; 2], y: Tensor, terms: usize) -> Product {
    matmul::nn(tape, down, b, y, Product::dense(y.rows, y.cols, b.rows));
    Product::dense(y.rows, y.cols, terms).accumulate(1)
}

/// The gradients of the inputs `down` and `b` where that of the product is `dy`.
pub(super) fn up_gradients(back: &mut Backward<'_>, dy: Tensor, [down_at, b_at]: [usize; 2]) {
    let (down, b) = (back.inputs[down_at], back.inputs[b_at]);
    if let Some(Gradient { tensor, accumulate }) = back.gradient(b_at) {
        let product = Product::dense(b.rows, b.cols, dy.rows);
        matmul::tn(back.tape, down, dy, tensor, product.accumulate(accumulate));
    }
    if let Some(Gradient { tensor, accumulate }) = back.gradient(down_at) {
        let product = Product::dense(dy.rows, b.rows, b.cols);
        matmul::nt(back.tape, dy, b, None, tensor, product.accumulate(accumulate));
    }
}
