//! The norm of each head and its rotation in one: `rope(rms_norm(x))` without the tensor in between, neither written nor
//! kept for backward. Formulas stand with [`super::rms_norm()`] and [`super::rope()`].

use super::{
    Norm, Rotary, column_sum, expect_shape,
    rope::{rotary_width, written},
    width,
};
use crate::{
    gpu::Launch,
    graph::{
        tape::{Backward, Grid, Op, Tape},
        tensor::{Tensor, size},
    },
    kernels::norm_rope_vec4::{Backward as BackwardKernel, BackwardBoth, Forward, HEADS, PARTS, Params},
};

struct NormRope {
    norm: Norm,
    rotary: Rotary,
}

/// Normalises every head of `x` `[T, heads * D]` with `weight` `[1, D]` and turns it by its token's position.
pub fn norm_rope(tape: &mut Tape, x: Tensor, weight: Tensor, norm: Norm, rotary: Rotary) -> Tensor {
    let Rotary { cosines, head_dim, .. } = rotary;
    expect_shape("norm_rope", "weight", weight, 1, head_dim);
    assert!(
        x.cols.is_multiple_of(head_dim) && 2 * cosines.cols <= head_dim,
        "norm_rope: heads of {head_dim} in {x:?}"
    );
    tape.apply(NormRope { norm, rotary }, &[x, weight])
}

impl NormRope {
    fn heads(&self, x: Tensor) -> usize {
        x.cols / self.rotary.head_dim
    }

    /// Records one of the kernels, which all have the same immediates and workgroups.
    fn run<L: Launch<Tensor, Params = Params>>(&self, tape: &mut Tape, x: Tensor, launch: L) {
        let (Norm { eps, offset }, Rotary { cosines, head_dim, .. }) = (self.norm, self.rotary);
        let (heads, half) = (self.heads(x), cosines.cols);
        let params = Params { heads: size(heads), head_dim: size(head_dim), half: size(half), eps, offset };
        let grid = Grid::plane(heads.div_ceil(HEADS * PARTS), x.rows);
        width::run(tape, rotary_width(&self.rotary), launch, params, grid);
    }
}

impl Op for NormRope {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let (x, weight) = (inputs[0], inputs[1]);
        let Rotary { positions, cosines, sines, .. } = self.rotary;
        let y = tape.transient(x.rows, x.cols);
        let launch = Forward { x, weight, positions, cosines, sines, y };
        self.run(tape, x, launch);
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        let (x, weight, dy) = (back.inputs[0], back.inputs[1], back.dy);
        let Rotary { positions, cosines, sines, head_dim } = self.rotary;
        let Some(dw) = back.gradient(1) else {
            let Some(dx) = back.gradient(0) else { return };
            return written(back.tape, dx, |tape, dx| {
                let launch = BackwardKernel { x, weight, positions, cosines, sines, dy, dx };
                self.run(tape, x, launch);
            });
        };
        let dx = back.gradient_or_scratch(0);
        let partial = back.tape.transient(x.rows * self.heads(x).div_ceil(HEADS), head_dim);
        written(back.tape, dx, |tape, dx| {
            let launch = BackwardBoth { x, weight, positions, cosines, sines, dy, dx, partial };
            self.run(tape, x, launch);
        });
        column_sum::column_sum(back.tape, partial, dw);
    }
}
