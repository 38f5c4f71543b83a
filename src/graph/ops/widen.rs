//! Numbers that were kept as bf16, two to a word, as f32: exact, and without a gradient, for they come from outside.

use crate::{
    gpu::kernels::widen::{Forward, Params},
    graph::{
        tape::{Backward, Grid, Op, Tape},
        tensor::{Tensor, size},
    },
};

struct Widen {
    cols: usize,
}

/// `words`: `[T, ...]` rows of enough words, which hold `T * cols` numbers one after another. Result `[T, cols]`.
pub fn widen(tape: &mut Tape, words: Tensor, cols: usize) -> Tensor {
    tape.apply(Widen { cols }, &[words])
}

impl Op for Widen {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let y = tape.transient(inputs[0].rows, self.cols);
        tape.run(Forward { words: inputs[0], y }, Params { n: size(y.len()) }, Grid::items(y.len().div_ceil(2), 64));
        vec![y]
    }

    fn backward(&self, _: &mut Backward<'_>) {}
}
