//! Weight-decomposed low-rank adaptation (DoRA, Liu et al. 2024, arXiv 2402.09353): the rows of `W + s B A`, scaled to
//! lengths `m` that are learned.
//!
//! ```text
//! y = g z + b,            z = x W^T + down B^T,  g = m / |rows of W + s B A|
//! y = (x - x') W^T + b + g z,  z of x'             with dropout x'
//! ```
//!
//! As `peft` has it, dropout takes from the part that the adapter changes, and the lengths are constants to the gradient
//! (section 4.3 of the paper). `W` is frozen: it gets no gradient.

use super::{
    Dropout,
    column_sum::column_sum,
    dropout::Part,
    expect_shape,
    lora::{up, up_gradients},
    matmul,
    matmul::Product,
};
use crate::{
    graph::{
        tape::{Backward, Gradient, Grid, Op, Tape},
        tensor::{Format, Tensor, size},
    },
    kernels::dora::{Backward as BackwardKernel, Forward, LengthParams, Lengths, Params},
};

/// The parts of an adapter that decomposes its weight.
#[derive(Clone, Copy, Debug)]
pub struct Decomposed {
    /// `[R, K]`, read for the lengths; its own gradient comes through `down`.
    pub a: Tensor,
    /// `[T, R]`, of `lora_down`.
    pub down: Tensor,
    /// `[R, N]`: `B` transposed.
    pub b: Tensor,
    /// `[1, N]` the lengths `m`.
    pub magnitude: Tensor,
    /// `s`
    pub scale: f32,
    /// That of `down`.
    pub dropout: Option<Dropout>,
}

struct Dora {
    a: Tensor,
    scale: f32,
    dropout: Option<Dropout>,
}

/// `x`: `[T, K]`, `weight`: `[N, K]`, `bias`: `[1, N]`; result `[T, N]`.
pub fn dora(tape: &mut Tape, x: Tensor, weight: Tensor, bias: Option<Tensor>, parts: Decomposed) -> Tensor {
    let Decomposed { a, down, b, magnitude, scale, dropout } = parts;
    expect_shape("dora", "weight", weight, weight.rows, x.cols);
    assert!(weight.format == Format::F32, "dora: {weight:?} is packed");
    expect_shape("dora", "a", a, b.rows, x.cols);
    expect_shape("dora", "down", down, x.rows, b.rows);
    expect_shape("dora", "b", b, b.rows, weight.rows);
    expect_shape("dora", "magnitude", magnitude, 1, weight.rows);
    let inputs = [x, weight, down, b, magnitude].into_iter().chain(bias);
    tape.apply(Dora { a, scale, dropout }, &inputs.collect::<Vec<_>>())
}

impl Dora {
    /// `[1, N]` one over the lengths of the rows of `W + s B A`.
    fn inverse_lengths(&self, tape: &mut Tape, weight: Tensor, b: Tensor) -> Tensor {
        let (a, rank, n) = (self.a, b.rows, b.cols);
        let [p, q] = [0, 1].map(|_| tape.transient(rank, n));
        let squares = tape.transient(rank, rank);
        matmul::nt(tape, a, weight, None, p, Product::dense(rank, n, a.cols));
        matmul::nt(tape, a, a, None, squares, Product::dense(rank, rank, a.cols));
        matmul::nn(tape, squares, b, q, Product::dense(rank, n, rank));
        let inverse = tape.transient(1, n);
        let params = LengthParams { rows: size(n), cols: size(weight.cols), rank: size(rank), scale: self.scale };
        tape.run(Lengths { w: weight, b, p, q, inverse }, params, Grid::linear(n));
        inverse
    }
}

fn params(z: Tensor, accumulate: bool, has_bias: bool) -> Params {
    let [accumulate, has_bias] = [accumulate, has_bias].map(u32::from);
    Params { rows: size(z.rows), cols: size(z.cols), accumulate, has_bias }
}

impl Op for Dora {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let &[x, weight, down, b, magnitude, ref bias @ ..] = inputs else { unreachable!("dora has five inputs") };
        let bias = bias.first().copied();
        let inverse = self.inverse_lengths(tape, weight, b);
        let product = Product::dense(x.rows, weight.rows, x.cols);
        let [z, y] = [0, 1].map(|_| tape.transient(x.rows, weight.rows));
        let kept = self.dropout.map_or(x, |dropout| dropout.part(tape, x, Part::Kept));
        let adding = up(tape, [down, b], z, x.cols);
        matmul::nt(tape, kept, weight, None, z, adding);
        if let Some(dropout) = self.dropout {
            let rest = dropout.part(tape, x, Part::Rest);
            matmul::nt(tape, rest, weight, bias, y, product);
        }
        let own_bias = bias.filter(|_| self.dropout.is_none());
        let launch = Forward { z, magnitude, saved_inverse: inverse, bias: own_bias.unwrap_or(magnitude), y };
        tape.run(launch, params(z, self.dropout.is_some(), own_bias.is_some()), Grid::items(z.len(), 64));
        vec![y, z, inverse]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        let (x, weight, magnitude, dy) = (back.inputs[0], back.inputs[1], back.inputs[4], back.dy);
        let (z, saved_inverse) = (back.outputs[1], back.outputs[2]);
        let [dz, products] = [0, 1].map(|_| back.tape.transient(z.rows, z.cols));
        let launch = BackwardKernel { z, magnitude, saved_inverse, dy, dz, products };
        back.tape.run(launch, params(z, false, false), Grid::items(z.len(), 64));
        if let Some(dm) = back.gradient(4) {
            column_sum(back.tape, products, dm);
        }
        if back.inputs.len() > 5
            && let Some(db) = back.gradient(5)
        {
            column_sum(back.tape, dy, db);
        }
        up_gradients(back, dz, [2, 3]);
        let Some(dx) = back.gradient(0) else { return };
        let product = Product::dense(x.rows, x.cols, weight.rows);
        let Some(dropout) = self.dropout else {
            return matmul::nn(back.tape, dz, weight, dx.tensor, product.accumulate(dx.accumulate));
        };
        let [dkept, drest] = [0, 1].map(|_| back.tape.transient(x.rows, x.cols));
        matmul::nn(back.tape, dz, weight, dkept, product);
        dropout.apply(back.tape, dkept, Part::Kept, dx);
        matmul::nn(back.tape, dy, weight, drest, product);
        dropout.apply(back.tape, drest, Part::Rest, Gradient { accumulate: 1, ..dx });
    }
}
