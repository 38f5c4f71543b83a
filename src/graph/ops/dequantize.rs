//! Numbers that are stored as bf16, two to a word, as f32: exact, and without a gradient, for they come from outside.

use crate::{
    graph::{
        tape::{Backward, Grid, Op, Tape},
        tensor::{Tensor, size},
    },
    kernels::dequantize_bf16::{Forward, Params},
};

struct Dequantize {
    cols: usize,
}

/// `words`: `[T, ...]` rows of enough words, which hold `T * cols` numbers one after another. Result `[T, cols]`.
pub fn dequantize(tape: &mut Tape, words: Tensor, cols: usize) -> Tensor {
    tape.apply(Dequantize { cols }, &[words])
}

impl Op for Dequantize {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let y = tape.transient(inputs[0].rows, self.cols);
        tape.run(Forward { words: inputs[0], y }, Params { n: size(y.len()) }, Grid::items(y.len().div_ceil(2), 64));
        vec![y]
    }

    fn backward(&self, _: &mut Backward<'_>) {}
}
