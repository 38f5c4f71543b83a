//! The gate of a SwiGLU feed-forward (Shazeer 2020): `y = silu(gate) * up`.
//! Gradients: `dup = dy silu(gate)`, `dgate = dy up s (1 + gate (1 - s))` with `s = sigmoid(gate)`.

use super::expect_shape;
use crate::{
    gpu::kernels::gated_mlp::{Backward as BackwardKernel, Forward, Params},
    tape::{Backward, Gradient, Grid, Op, Tape},
    tensor::{Tensor, size},
};

struct GatedMlp;

/// `gate`, `up` and the result: `[T, F]`.
pub fn gated_mlp(tape: &mut Tape, gate: Tensor, up: Tensor) -> Tensor {
    expect_shape("gated_mlp", "up", up, gate.rows, gate.cols);
    tape.apply(GatedMlp, &[gate, up])
}

impl Op for GatedMlp {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let (gate, up) = (inputs[0], inputs[1]);
        let y = tape.transient(gate.rows, gate.cols);
        let params = Params { n: size(gate.len()), accumulate_gate: 0, accumulate_up: 0 };
        tape.run(Forward { gate, up, y }, params, Grid::items(gate.len(), 64));
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        let (gate, up, dy) = (back.inputs[0], back.inputs[1], back.dy);
        let (dgate, dup) = (back.gradient(0), back.gradient(1));
        // One kernel writes both; what nobody wants goes to scratch.
        let mut or_scratch = |gradient: Option<Gradient>| {
            gradient.unwrap_or_else(|| Gradient { tensor: back.tape.transient(gate.rows, gate.cols), accumulate: 0 })
        };
        let (dgate, dup) = (or_scratch(dgate), or_scratch(dup));
        let params = Params { n: size(gate.len()), accumulate_gate: dgate.accumulate, accumulate_up: dup.accumulate };
        let launch = BackwardKernel { gate, up, dy, dgate: dgate.tensor, dup: dup.tensor };
        back.tape.run(launch, params, Grid::items(gate.len(), 64));
    }
}
