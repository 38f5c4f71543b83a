//! `y = factor x`; `dx = factor dy`.

use super::width;
use crate::{
    graph::{
        tape::{Backward, Op, Tape},
        tensor::{Tensor, size},
    },
    kernels::scale_vec4::{Forward, Params},
};

struct Scale(f32);

/// `x` times a constant.
pub fn scale(tape: &mut Tape, x: Tensor, factor: f32) -> Tensor {
    tape.apply(Scale(factor), &[x])
}

/// `y (+)= factor x`
pub(super) fn run(tape: &mut Tape, x: Tensor, y: Tensor, factor: f32, accumulate: u32) {
    let params = Params { n: size(x.len()), factor, accumulate };
    width::run_items(tape, x.len(), Forward { x, y }, params);
}

impl Op for Scale {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let y = tape.transient(inputs[0].rows, inputs[0].cols);
        run(tape, inputs[0], y, self.0, 0);
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        if let Some(dx) = back.gradient(0) {
            run(back.tape, back.dy, dx.tensor, self.0, dx.accumulate);
        }
    }
}
