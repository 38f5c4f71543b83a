//! Rotary position embedding (Su et al. 2021), half-split as in Hugging Face models, of the first channels of each head. The
//! gradient is the rotation back.

use super::{add::accumulate, width};
use crate::{
    graph::{
        tape::{Backward, Gradient, Grid, Op, Tape},
        tensor::{Tensor, size},
    },
    kernels::rope_vec4::{HEADS, PARTS, Params, Rotate},
};

/// Tabulated angles and where to look them up.
#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    /// `[1, T]` row of the tables for each token.
    pub positions: Tensor,
    /// `[positions, R / 2]`: the first `R` channels of a head turn, the others stay.
    pub cosines: Tensor,
    /// `[positions, R / 2]`
    pub sines: Tensor,
    /// `D`, even.
    pub head_dim: usize,
}

struct Rope(Rotary);

/// Rotates every head of `x` `[T, heads * D]` by its token's position.
pub fn rope(tape: &mut Tape, x: Tensor, rotary: Rotary) -> Tensor {
    let Rotary { cosines, head_dim, .. } = rotary;
    assert!(x.cols.is_multiple_of(head_dim) && 2 * cosines.cols <= head_dim, "rope: heads of {head_dim} in {x:?}");
    tape.apply(Rope(rotary), &[x])
}

impl Rope {
    fn rotate(&self, tape: &mut Tape, x: Tensor, y: Tensor, sign: f32) {
        let Rotary { positions, cosines, sines, head_dim } = self.0;
        let (heads, half) = (x.cols / head_dim, cosines.cols);
        let params = Params { heads: size(heads), head_dim: size(head_dim), half: size(half), sign };
        let launch = Rotate { x, positions, cosines, sines, y };
        let grid = Grid::plane(heads.div_ceil(HEADS * PARTS), x.rows);
        width::run(tape, rotary_width(&self.0), launch, params, grid);
    }
}

/// How many numbers kernels take of a head at a time: pairs that turn and pairs that stay both come in as many.
pub(super) fn rotary_width(rotary: &Rotary) -> usize {
    width::width(&[rotary.cosines.cols, rotary.head_dim / 2])
}

/// Has `record` write a gradient, beside what is there where it is to be added.
pub(super) fn written(tape: &mut Tape, gradient: Gradient, record: impl FnOnce(&mut Tape, Tensor)) {
    let Gradient { tensor, accumulate: adds } = gradient;
    if adds == 0 {
        return record(tape, tensor);
    }
    let beside = tape.transient(tensor.rows, tensor.cols);
    record(tape, beside);
    accumulate(tape, beside, tensor);
}

impl Op for Rope {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let x = inputs[0];
        let y = tape.transient(x.rows, x.cols);
        self.rotate(tape, x, y, 1.0);
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        if let Some(dx) = back.gradient(0) {
            let dy = back.dy;
            written(back.tape, dx, |tape, dx| self.rotate(tape, dy, dx, -1.0));
        }
    }
}
