//! Writes keys and values of new tokens into a cache; no gradient.

use crate::{
    graph::{
        tape::{Grid, Tape},
        tensor::{Tensor, size},
    },
    kernels::cache::{Append, Params},
};

/// Sets row `rows[t]` of `cache` `[capacity, C]` to row `t` of `x` `[T, C]`.
pub fn append(tape: &mut Tape, x: Tensor, rows: Tensor, cache: Tensor) {
    let params = Params { tokens: size(x.rows), cols: size(x.cols) };
    tape.run(Append { x, rows, cache }, params, Grid::items(x.len(), 64));
}
