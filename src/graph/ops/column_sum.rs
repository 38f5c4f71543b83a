//! Sums over rows in stages, each in a fixed order: the gradient of a bias, the end of a norm weight's gradient.

use super::width;
use crate::{
    graph::{
        tape::{Gradient, Grid, Tape},
        tensor::{Tensor, size},
    },
    kernels::column_sum_vec4::{Forward, Params},
};

/// Rows that one invocation sums: so few that what neighbours read next to each other stays in a CPU's cache meanwhile. Of
/// 64, a software driver sums a third as fast.
const BLOCK: usize = 32;
/// Rows that the last stage sums, which reads little.
const LAST: usize = 256;

/// `to (+)= sum of the rows of x`, `x: [rows, C]`, `to: [1, C]`.
pub(super) fn column_sum(tape: &mut Tape, x: Tensor, to: Gradient) {
    let mut x = x;
    while x.rows > LAST {
        let partial = tape.transient(x.rows.div_ceil(BLOCK), x.cols);
        stage(tape, x, partial, BLOCK, 0);
        x = partial;
    }
    stage(tape, x, to.tensor, x.rows, to.accumulate);
}

fn stage(tape: &mut Tape, x: Tensor, y: Tensor, block: usize, accumulate: u32) {
    let params = Params { rows: size(x.rows), cols: size(x.cols), block: size(block), accumulate };
    let width = width::width(&[x.cols]);
    let grid = Grid::plane(x.cols.div_ceil(64 * width), x.rows.div_ceil(block));
    width::run(tape, width, Forward { x, y }, params, grid);
}
