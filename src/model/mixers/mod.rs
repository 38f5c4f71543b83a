//! What mixes the tokens of a text in a layer: one file each, which owns its parameters, what it records, in training and
//! where text is generated, and what it keeps for that.

pub(crate) mod attention;
pub(crate) mod short_conv;

use super::{
    parameter::List,
    part::{Part, Recorder, Room},
    rope::Rotation,
};
use crate::graph::tensor::Tensor;
use attention::Attention;
use short_conv::ShortConv;

/// The mixer of one layer.
#[derive(Debug, Clone, PartialEq)]
pub enum Mixer {
    /// Softmax attention.
    Attention(Attention),
    /// A gated short convolution.
    ShortConv(ShortConv),
}

/// Has `$call` done by the mixer that it is.
macro_rules! each {
    ($mixer:expr, $part:ident => $call:expr) => {
        match $mixer {
            Mixer::Attention($part) => $call,
            Mixer::ShortConv($part) => $call,
        }
    };
}

impl Part for Mixer {
    fn declare(&self, list: &mut List) {
        each!(self, part => part.declare(list));
    }

    fn record<R: Recorder>(&self, at: &mut R, x: Tensor) -> (Tensor, &'static str) {
        each!(self, part => part.record(at, x))
    }

    fn score_width(&self) -> usize {
        each!(self, part => part.score_width())
    }

    fn rotation(&self) -> Option<&Rotation> {
        each!(self, part => part.rotation())
    }

    fn caches(&self, room: Room) -> Vec<[usize; 2]> {
        each!(self, part => part.caches(room))
    }
}

impl From<Attention> for Mixer {
    fn from(attention: Attention) -> Self {
        Self::Attention(attention)
    }
}

impl From<ShortConv> for Mixer {
    fn from(conv: ShortConv) -> Self {
        Self::ShortConv(conv)
    }
}
