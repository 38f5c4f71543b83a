//! Rows of a table by index: `y[t] = table[tokens[t]]`; gradient `dtable[v] += sum of dy[t] where tokens[t] = v`.

use crate::{
    gpu::kernels::embedding::{Backward as BackwardKernel, Forward, Params},
    tape::{Backward, Grid, Op, Tape},
    tensor::{Tensor, size},
};

struct Embedding {
    /// `[1, T]` positions sorted by token; only backward reads it.
    order: Tensor,
}

/// `table`: the shards of a `[V, C]` matrix, each some of its rows; `tokens`, `order`: `[1, T]`, where `order` lists the
/// positions sorted by token. Result `[T, C]`. Every token must be less than `V`.
pub fn embedding(tape: &mut Tape, tokens: Tensor, order: Tensor, table: &[Tensor]) -> Tensor {
    let mut inputs = vec![tokens];
    inputs.extend(table);
    tape.apply(Embedding { order }, &inputs)
}

fn forward(tape: &mut Tape, tokens: Tensor, shards: &[Tensor], y: Tensor) {
    let mut first = 0;
    for &table in shards {
        let launch = Forward { tokens, table, y };
        tape.run(launch, params(tokens, table, first), Grid::items(y.len(), 64));
        first += table.rows;
    }
}

fn params(tokens: Tensor, table: Tensor, first: usize) -> Params {
    Params { tokens: size(tokens.len()), cols: size(table.cols), first: size(first), count: size(table.rows) }
}

impl Op for Embedding {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let y = tape.transient(inputs[0].len(), inputs[1].cols);
        forward(tape, inputs[0], &inputs[1..], y);
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        let tokens = back.inputs[0];
        let mut first = 0;
        for i in 1..back.inputs.len() {
            let table = back.inputs[i];
            if let Some(grad) = back.gradient(i) {
                if grad.accumulate == 0 {
                    back.tape.clear(grad.tensor); // the kernel only adds
                }
                let launch = BackwardKernel { tokens, order: self.order, dy: back.dy, dtable: grad.tensor };
                let grid = Grid::plane(tokens.len(), table.cols.div_ceil(64));
                back.tape.run(launch, params(tokens, table, first), grid);
            }
            first += table.rows;
        }
    }
}
