//! Tables of rotary positions on the device, one pair for all layers that turn alike.

use super::{
    part::Inputs,
    rope::{LongRope, Rotation},
};
use crate::graph::{
    ops,
    tape::Tape,
    tensor::{Role, Store, Tensor},
};

/// Rotary tables of two parts: for short texts and, behind it, for long ones.
#[derive(Clone, Copy, Debug)]
pub struct LongTexts {
    /// Texts of more tokens than this are long.
    beyond: usize,
    /// The row where their part begins.
    second: usize,
}

impl LongTexts {
    /// The row of the tables for the first token of a text of `length` tokens.
    pub fn first_row(self, length: usize) -> usize {
        if length > self.beyond { self.second } else { 0 }
    }
}

/// Declared rotary tables.
pub(super) struct Tables {
    pub(super) rotation: Rotation,
    /// Positions that they reach.
    positions: usize,
    /// `[rows, R / 2]` each: cosines and sines.
    pub(super) tensors: [Tensor; 2],
    pub(super) long: Option<LongTexts>,
}

impl Tables {
    /// Tables for positions `0..positions`, of two parts where long texts fit.
    pub(super) fn declare(store: &mut Store, rotation: &Rotation, positions: usize) -> Self {
        let long = rotation.long.as_ref().filter(|long| positions > long.beyond);
        let long = long.map(|long| LongTexts { beyond: long.beyond, second: positions });
        let rows = positions + long.map_or(0, |long| long.second);
        let tensors = ["cosines", "sines"].map(|name| store.declare(name, Role::Inputs, rows, rotation.dim / 2));
        Self { rotation: rotation.clone(), positions, tensors, long }
    }

    /// The tables and their values.
    pub(super) fn values(&self) -> [(Tensor, Vec<f32>); 2] {
        let Rotation { dim, rope, long } = &self.rotation;
        let (mut cosines, mut sines) = rope.tables(*dim, self.positions);
        if let Some(LongRope { rope, .. }) = long.as_ref().filter(|_| self.long.is_some()) {
            let (of_long_cosines, of_long_sines) = rope.tables(*dim, self.positions);
            cosines.extend(of_long_cosines);
            sines.extend(of_long_sines);
        }
        [(self.tensors[0], cosines), (self.tensors[1], sines)]
    }

    /// The row of each token of whole texts, each of which takes the part of the tables for its length.
    pub(super) fn rows(&self, tape: &mut Tape, inputs: Inputs) -> Tensor {
        let Some(LongTexts { beyond, second }) = self.long else { return inputs.positions };
        ops::text_positions(tape, inputs.positions, [inputs.spans, inputs.ends], beyond, second)
    }
}
