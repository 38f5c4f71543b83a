//! The gated feed-forward: `down(act(gate(x)) * up(x))`.

use super::{
    parameter::List,
    part::{Part, Recorder},
};
use crate::graph::{
    ops::{self, Activation},
    tensor::Tensor,
};

const GATE: &str = "mlp.gate_proj";
const UP: &str = "mlp.up_proj";
const DOWN: &str = "mlp.down_proj";

/// A gated feed-forward of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gated {
    /// `F`: its inner width.
    pub width: usize,
    /// What the gate passes through.
    pub activation: Activation,
    /// Bias on its three projections.
    pub bias: bool,
}

impl Part for Gated {
    fn declare(&self, list: &mut List) {
        let Self { width, bias, .. } = *self;
        list.matrix(GATE, [width, list.hidden], bias);
        list.matrix(UP, [width, list.hidden], bias);
        list.matrix(DOWN, [list.hidden, width], bias);
    }

    fn record<R: Recorder>(&self, at: &mut R, x: Tensor) -> (Tensor, &'static str) {
        let [gate, up] = at.linears(x, [GATE, UP]);
        (ops::gated_mlp(at.tape(), gate, up, self.activation), DOWN)
    }
}
