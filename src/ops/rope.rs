//! Rotary position embedding (Su et al. 2021), half-split as in Hugging Face models. The gradient is the rotation back.

use crate::{
    gpu::kernels::rope::{Params, Rotate},
    tape::{Backward, Grid, Op, Tape},
    tensor::{Tensor, size},
};

/// Tabulated angles and where to look them up.
#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    /// `[1, T]`
    pub positions: Tensor,
    /// `[positions, D / 2]`
    pub cosines: Tensor,
    /// `[positions, D / 2]`
    pub sines: Tensor,
}

struct Rope(Rotary);

/// Rotates every head of `x` `[T, heads * D]` by its token's position.
pub fn rope(tape: &mut Tape, x: Tensor, rotary: Rotary) -> Tensor {
    tape.apply(Rope(rotary), &[x])
}

impl Rope {
    fn rotate(&self, tape: &mut Tape, x: Tensor, y: Tensor, sign: f32, accumulate: u32) {
        let Rotary { positions, cosines, sines } = self.0;
        let launch = Rotate { x, positions, cosines, sines, y };
        let half = cosines.cols;
        let params =
            Params { tokens: size(x.rows), heads: size(x.cols / (2 * half)), half: size(half), sign, accumulate };
        tape.run(launch, params, Grid::items(x.len() / 2, 64));
    }
}

impl Op for Rope {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let x = inputs[0];
        let y = tape.transient(x.rows, x.cols);
        self.rotate(tape, x, y, 1.0, 0);
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        if let Some(dx) = back.gradient(0) {
            self.rotate(back.tape, back.dy, dx.tensor, -1.0, dx.accumulate);
        }
    }
}
