//! Rows of a table by index: `y[t] = scale table[tokens[t]]`; gradient `dtable[v] += scale sum of dy[t] where
//! tokens[t] = v`.

use super::{packed, width};
use crate::{
    graph::{
        tape::{Backward, Grid, Op, Tape},
        tensor::{Format, Tensor, size},
    },
    kernels::embedding_vec4::{Backward as BackwardKernel, Forward, Params},
};

struct Embedding {
    /// `[1, T]` positions sorted by token; only backward reads it.
    order: Tensor,
    scale: f32,
}

/// `table`: the shards of a `[V, C]` matrix, each some of its rows; `tokens`, `order`: `[1, T]`, where `order` lists the
/// positions sorted by token. Result `[T, C]`, times `scale`. Every token must be less than `V`.
pub fn embedding(tape: &mut Tape, tokens: Tensor, order: Tensor, table: &[Tensor], scale: f32) -> Tensor {
    let mut inputs = vec![tokens];
    inputs.extend(table);
    tape.apply(Embedding { order, scale }, &inputs)
}

impl Embedding {
    fn params(&self, tokens: Tensor, table: Tensor, first: usize) -> Params {
        Params {
            tokens: size(tokens.len()),
            cols: size(table.cols),
            first: size(first),
            count: size(table.rows),
            scale: self.scale,
        }
    }
}

impl Op for Embedding {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let tokens = inputs[0];
        let y = tape.transient(tokens.len(), inputs[1].cols);
        let mut first = 0;
        for &table in &inputs[1..] {
            let params = self.params(tokens, table, first);
            if table.format == Format::F32 {
                let launch = Forward { tokens, table, y };
                width::run(tape, width::width(&[y.cols]), launch, params, Grid::plane(y.rows, 1));
            } else {
                packed::rows(tape, [tokens, table, y], params);
            }
            first += table.rows;
        }
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        let tokens = back.inputs[0];
        let mut first = 0;
        for i in 1..back.inputs.len() {
            let table = back.inputs[i];
            if let Some(grad) = back.gradient(i) {
                if grad.accumulate == 0 {
                    back.tape.clear(grad.tensor); // the kernels only add
                }
                let params = self.params(tokens, table, first);
                if grad.tensor.format != Format::F32 {
                    packed::add_rows(back.tape, [tokens, self.order, back.dy, grad.tensor], params);
                    first += table.rows;
                    continue;
                }
                let launch = BackwardKernel { tokens, order: self.order, dy: back.dy, dtable: grad.tensor };
                let width = width::width(&[table.cols]);
                let grid = Grid::plane(table.cols.div_ceil(64 * width), back.dy.rows);
                width::run(back.tape, width, launch, params, grid);
            }
            first += table.rows;
        }
    }
}
