//! The likeliest token of each row of logits, so that greedy text needs none of them on the host; no gradient.

use crate::{
    graph::{
        tape::{Grid, Tape},
        tensor::{Tensor, size},
    },
    kernels::likeliest::{Forward, Params},
};

/// Sets `ids[i]` of `[1, n]` to the first column with the largest number in row `i` of `x` `[n, V]`.
pub fn likeliest(tape: &mut Tape, x: Tensor, ids: Tensor) {
    super::expect_shape("likeliest", "ids", ids, 1, x.rows);
    let params = Params { n: size(x.rows), cols: size(x.cols) };
    tape.run(Forward { x, ids }, params, Grid::linear(x.rows));
}
