//! The gate of a feed-forward (SwiGLU or GEGLU, Shazeer 2020): `y = act(gate) * up`, `act(g) = g s`, `s = sigmoid(v)` with
//! `v = g` for SiLU and `v = 2 sqrt(2 / pi) (g + 0.044715 g^3)` for GELU in its tanh form (Hendrycks & Gimpel 2016).
//! Gradients: `dup = dy act(gate)`, `dgate = dy up s (1 + gate (1 - s) v')`.

use super::{expect_shape, width};
use crate::{
    graph::{
        tape::{Backward, Op, Tape},
        tensor::{Tensor, size},
    },
    kernels::gated_mlp_vec4::{Backward as BackwardKernel, Forward, Params},
};

/// What the gate passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `g sigmoid(g)`
    Silu,
    /// `g / 2 (1 + tanh(sqrt(2 / pi) (g + 0.044715 g^3)))`
    GeluTanh,
    /// `g`: a product of two tensors.
    Identity,
}

struct GatedMlp(Activation);

/// `gate`, `up` and the result: `[T, F]`.
pub fn gated_mlp(tape: &mut Tape, gate: Tensor, up: Tensor, activation: Activation) -> Tensor {
    expect_shape("gated_mlp", "up", up, gate.rows, gate.cols);
    tape.apply(GatedMlp(activation), &[gate, up])
}

impl GatedMlp {
    fn params(&self, gate: Tensor, accumulate_gate: u32, accumulate_up: u32) -> Params {
        let activation = match self.0 {
            Activation::Silu => 0,
            Activation::GeluTanh => 1,
            Activation::Identity => 2,
        };
        Params { n: size(gate.len()), accumulate_gate, accumulate_up, activation }
    }
}

impl Op for GatedMlp {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let (gate, up) = (inputs[0], inputs[1]);
        let y = tape.transient(gate.rows, gate.cols);
        let launch = Forward { gate, up, y };
        width::run_items(tape, gate.len(), launch, self.params(gate, 0, 0));
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        let (gate, up, dy) = (back.inputs[0], back.inputs[1], back.dy);
        let (dgate, dup) = (back.gradient_or_scratch(0), back.gradient_or_scratch(1));
        let params = self.params(gate, dgate.accumulate, dup.accumulate);
        let launch = BackwardKernel { gate, up, dy, dgate: dgate.tensor, dup: dup.tensor };
        width::run_items(back.tape, gate.len(), launch, params);
    }
}
