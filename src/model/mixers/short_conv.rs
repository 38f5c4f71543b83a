//! The gated short convolution of LFM2: `out(c * conv(b * x))`, where `b`, `c` and `x` are projections of what comes in.

use super::super::{
    parameter::List,
    part::{Cached, Part, Recorder, Room},
};
use crate::graph::{
    ops::{self, Activation::Identity, Ring},
    tensor::Tensor,
};

const B: &str = "conv.b_proj";
const C: &str = "conv.c_proj";
const X: &str = "conv.x_proj";
const CONV: &str = "conv.conv";
const OUT: &str = "conv.out_proj";

/// The convolution of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortConv {
    /// Channels, as many as the stream has.
    pub width: usize,
    /// `L`: tokens that one looks at, itself included.
    pub taps: usize,
    /// Bias on the projections and the convolution.
    pub bias: bool,
}

impl ShortConv {
    /// Tokens of a text that the cache has room for.
    fn kept(&self, room: Room) -> usize {
        (room.step + self.taps - 1).min(room.capacity)
    }
}

impl Part for ShortConv {
    fn declare(&self, list: &mut List) {
        let Self { width, taps, bias } = *self;
        list.weight(CONV, vec![width, 1, taps], bias);
        [B, C, X].into_iter().for_each(|module| list.matrix(module, [width, list.hidden], bias));
        list.matrix(OUT, [list.hidden, width], bias);
    }

    fn record<R: Recorder>(&self, at: &mut R, x: Tensor) -> (Tensor, &'static str) {
        let [b, c, x] = at.linears(x, [B, C, X]);
        let x = ops::gated_mlp(at.tape(), b, x, Identity);
        let ([weight, bias], inputs) = (at.weight(CONV), at.inputs());
        let weight = weight.unwrap_or_else(|| panic!("no parameter {CONV}.weight"));
        let ring = at.cached().map(|Cached { tensors, rows, room }| {
            let kept = self.kept(room);
            Ring { cache: tensors[0], rows, capacity: room.capacity, kept }
        });
        let tape = at.tape();
        let mixed = match ring {
            None => ops::causal_conv(tape, x, weight, bias, [inputs.spans, inputs.ends]),
            Some(ring) => ops::causal_conv_cached(tape, x, weight, bias, inputs.spans, ring),
        };
        (ops::gated_mlp(tape, c, mixed, Identity), OUT)
    }

    /// What goes into the convolution, of the last tokens of each text.
    fn caches(&self, room: Room) -> Vec<[usize; 2]> {
        vec![[room.texts * self.kept(room) + 1, self.width]]
    }
}
