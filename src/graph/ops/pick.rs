//! Chosen rows of a matrix: `y[i] = x[rows[i]]`. With it the loss head sees only tokens that are targets.
//! Gradient: `dx[t] = dy[slots[t]]`, where `slots` is the inverse choice.

use crate::{
    graph::{
        tape::{Backward, Grid, Op, Tape},
        tensor::{Tensor, size},
    },
    kernels::pick::{Forward, Params},
};

struct Pick {
    rows: Tensor,
    slots: Tensor,
}

/// `x`: `[T, C]`; `rows`: `[1, n]`, each a row of `x`, once, or at least `T` for a row of zeros; `slots`: `[1, T]`, where
/// in `rows` each row of `x` stands, or at least `n` if nowhere. Result `[n, C]`.
pub fn pick(tape: &mut Tape, x: Tensor, rows: Tensor, slots: Tensor) -> Tensor {
    tape.apply(Pick { rows, slots }, &[x])
}

fn run(tape: &mut Tape, x: Tensor, rows: Tensor, y: Tensor, accumulate: u32) {
    let params = Params { n: size(y.rows), cols: size(y.cols), count: size(x.rows), accumulate };
    tape.run(Forward { x, rows, y }, params, Grid::items(y.len(), 64));
}

impl Op for Pick {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let y = tape.transient(self.rows.len(), inputs[0].cols);
        run(tape, inputs[0], self.rows, y, 0);
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        if let Some(dx) = back.gradient(0) {
            run(back.tape, back.dy, self.slots, dx.tensor, dx.accumulate);
        }
    }
}
