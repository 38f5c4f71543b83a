//! The norm of each head and its rotation in one: `rope(rms_norm(x))` without the tensor in between, neither written nor
//! kept for backward. Formulas stand with [`super::rms_norm()`] and [`super::rope()`].

use super::{Norm, Rotary, column_sum, expect_shape};
use crate::{
    gpu::kernels::norm_rope::{Backward as BackwardKernel, BackwardWeight, Forward, Params},
    tape::{Backward, Grid, Op, Tape},
    tensor::{Tensor, size},
};

struct NormRope {
    norm: Norm,
    rotary: Rotary,
    /// Heads of a token.
    heads: usize,
}

/// Normalises every head of `x` `[T, heads * D]` with `weight` `[1, D]` and turns it by its token's position.
pub fn norm_rope(tape: &mut Tape, x: Tensor, weight: Tensor, norm: Norm, rotary: Rotary) -> Tensor {
    let Rotary { cosines, head_dim, .. } = rotary;
    expect_shape("norm_rope", "weight", weight, 1, head_dim);
    assert!(
        x.cols.is_multiple_of(head_dim) && 2 * cosines.cols <= head_dim,
        "norm_rope: heads of {head_dim} in {x:?}"
    );
    let heads = x.cols / head_dim;
    let op = NormRope { norm, rotary, heads };
    tape.apply(op, &[x.reshape(x.rows * heads, head_dim), weight]).reshape(x.rows, x.cols)
}

impl NormRope {
    fn params(&self, x: Tensor, accumulate: u32) -> Params {
        let Norm { eps, offset } = self.norm;
        Params {
            rows: size(x.rows),
            heads: size(self.heads),
            head_dim: size(x.cols),
            half: size(self.rotary.cosines.cols),
            eps,
            offset,
            accumulate,
            block: size(column_sum::BLOCK),
        }
    }
}

impl Op for NormRope {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let (x, weight) = (inputs[0], inputs[1]);
        let Rotary { positions, cosines, sines, .. } = self.rotary;
        let y = tape.transient(x.rows, x.cols);
        let rstd = tape.transient(1, x.rows);
        let launch = Forward { x, weight, positions, cosines, sines, y, rstd };
        tape.run(launch, self.params(x, 0), Grid::linear(x.rows));
        vec![y, rstd]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        let (x, weight, dy, saved_rstd) = (back.inputs[0], back.inputs[1], back.dy, back.outputs[1]);
        let Rotary { positions, cosines, sines, .. } = self.rotary;
        if let Some(dw) = back.gradient(1) {
            let blocks = x.rows.div_ceil(column_sum::BLOCK);
            let partial = back.tape.transient(blocks, x.cols);
            let launch = BackwardWeight { x, positions, cosines, sines, dy, saved_rstd, partial };
            back.tape.run(launch, self.params(x, 0), Grid::plane((x.cols / 2).div_ceil(64), blocks));
            column_sum::column_sum(back.tape, partial, dw);
        }
        if let Some(dx) = back.gradient(0) {
            let launch = BackwardKernel { x, weight, positions, cosines, sines, dy, saved_rstd, dx: dx.tensor };
            back.tape.run(launch, self.params(x, dx.accumulate), Grid::linear(x.rows));
        }
    }
}
