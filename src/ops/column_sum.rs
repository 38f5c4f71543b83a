//! Sums over rows in two stages, each in a fixed order: the gradient of a bias, the end of a norm weight's gradient.

use crate::{
    gpu::kernels::column_sum::{Forward, Params},
    tape::{Gradient, Grid, Tape},
    tensor::{Tensor, size},
};

/// Rows that one invocation sums in the first stage: about the square root of the largest row counts, so that neither
/// stage is long.
pub(super) const BLOCK: usize = 256;

/// `to (+)= sum of the rows of x`, `x: [rows, C]`, `to: [1, C]`.
pub(super) fn column_sum(tape: &mut Tape, x: Tensor, to: Gradient) {
    let blocks = x.rows.div_ceil(BLOCK);
    if blocks == 1 {
        stage(tape, x, to.tensor, x.rows, to.accumulate);
        return;
    }
    let partial = tape.transient(blocks, x.cols);
    stage(tape, x, partial, BLOCK, 0);
    stage(tape, partial, to.tensor, blocks, to.accumulate);
}

fn stage(tape: &mut Tape, x: Tensor, y: Tensor, block: usize, accumulate: u32) {
    let params = Params { rows: size(x.rows), cols: size(x.cols), block: size(block), accumulate };
    let grid = Grid::plane(x.cols.div_ceil(64), x.rows.div_ceil(block));
    tape.run(Forward { x, y }, params, grid);
}
