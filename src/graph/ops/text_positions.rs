//! Where each token finds its angles in a rotary table of two parts, for short texts and for long ones; no gradient.
//!
//! LongRoPE (Ding et al. 2024) turns all tokens of a text by its length. The length is that of the document, not of the
//! packed row, so that the same document gets the same numbers whatever lies beside it.

use crate::{
    graph::{
        tape::{Grid, Tape},
        tensor::{Tensor, size},
    },
    kernels::text_positions::{Forward, Params},
};

/// `positions`, `ends`: `[1, T]`, `spans`: `[T, 2]`. The result `[1, T]` is `positions`, `second` rows further for the
/// tokens of documents of more than `beyond` tokens.
pub fn text_positions(
    tape: &mut Tape,
    positions: Tensor,
    [spans, ends]: [Tensor; 2],
    beyond: usize,
    second: usize,
) -> Tensor {
    let y = tape.transient(positions.rows, positions.cols);
    let params = Params { tokens: size(positions.len()), beyond: size(beyond), second: size(second) };
    tape.run(Forward { positions, spans, ends, y }, params, Grid::items(positions.len(), 64));
    y
}
