//! Causal convolution of each channel with weights of its own, which does not reach across documents:
//! `y_t = b + sum_l w_(L-1-l) x_(t-l)`. Gradients: `dx_t = sum_l w_(L-1-l) dy_(t+l)`, `dw_(L-1-l) = sum_t dy_t x_(t-l)`,
//! `db = column sums of dy`, all within a document.

use super::{column_sum::column_sum, expect_shape};
use crate::{
    graph::{
        tape::{Backward, Gradient, Grid, Op, Tape},
        tensor::{Tensor, size},
    },
    kernels::causal_conv::{BLOCK, Backward as BackwardKernel, BackwardWeight, Decode, Forward, Keep, Params},
};

struct CausalConv {
    spans: Tensor,
    ends: Tensor,
}

/// The last inputs of each text that is generated, in a ring.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    /// `[texts * kept + 1, C]`
    pub cache: Tensor,
    /// `[1, T]` row of each new token: `capacity` rows a text.
    pub rows: Tensor,
    /// Rows of a text as `rows` counts them.
    pub capacity: usize,
    /// Those of them that the cache has room for: as many as new tokens of a text and the taps before them, or all.
    pub kept: usize,
}

/// `x`: `[T, C]`, `weight`: `[C, L]`, `bias`: `[1, C]`; `spans` `[T, 2]` begin with the first token of each token's document,
/// `ends` `[1, T]` are one past its last. Result `[T, C]`.
pub fn causal_conv(
    tape: &mut Tape,
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    [spans, ends]: [Tensor; 2],
) -> Tensor {
    expect(x, weight, bias);
    let inputs: Vec<Tensor> = [x, weight].into_iter().chain(bias).collect();
    tape.apply(CausalConv { spans, ends }, &inputs)
}

/// The same of new tokens `x` behind those in the ring, which they join; without gradient. `spans` `[T, 2]` begin with the first
/// row of each token's text.
pub fn causal_conv_cached(
    tape: &mut Tape,
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    spans: Tensor,
    ring: Ring,
) -> Tensor {
    expect(x, weight, bias);
    let Ring { cache, rows, capacity, kept } = ring;
    expect_shape("causal_conv", "cache", cache, cache.rows, x.cols);
    let params = Params { capacity: size(capacity), kept: size(kept), ..params(x, weight, bias) };
    let (y, grid) = (tape.transient(x.rows, x.cols), Grid::items(x.len(), 64));
    tape.run(Keep { x, rows, cache }, params, grid);
    tape.run(Decode { weight, bias: bias.unwrap_or(weight), spans, y, rows, cached: cache }, params, grid);
    y
}

fn expect(x: Tensor, weight: Tensor, bias: Option<Tensor>) {
    expect_shape("causal_conv", "weight", weight, x.cols, weight.cols);
    if let Some(bias) = bias {
        expect_shape("causal_conv", "bias", bias, 1, x.cols);
    }
}

fn params(x: Tensor, weight: Tensor, bias: Option<Tensor>) -> Params {
    let [tokens, channels, taps] = [x.rows, x.cols, weight.cols].map(size);
    Params { tokens, channels, taps, biased: bias.is_some().into(), accumulate: 0, capacity: 1, kept: 1 }
}

impl Op for CausalConv {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let (x, weight, bias) = (inputs[0], inputs[1], inputs.get(2).copied());
        let y = tape.transient(x.rows, x.cols);
        let launch = Forward { x, weight, bias: bias.unwrap_or(weight), spans: self.spans, y };
        tape.run(launch, params(x, weight, bias), Grid::items(x.len(), 64));
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        let (x, weight, dy) = (back.inputs[0], back.inputs[1], back.dy);
        let params = params(x, weight, None);
        if let Some(dx) = back.gradient(0) {
            let launch = BackwardKernel { weight, ends: self.ends, dy, dx: dx.tensor };
            back.tape.run(launch, Params { accumulate: dx.accumulate, ..params }, Grid::items(x.len(), 64));
        }
        if let Some(Gradient { tensor, accumulate }) = back.gradient(1) {
            let partial = back.tape.transient(x.rows.div_ceil(BLOCK), weight.len());
            let launch = BackwardWeight { x, spans: self.spans, dy, partial };
            back.tape.run(launch, params, Grid::items(partial.len(), 64));
            column_sum(back.tape, partial, Gradient { tensor: tensor.reshape(1, weight.len()), accumulate });
        }
        if back.inputs.len() > 2
            && let Some(db) = back.gradient(2)
        {
            column_sum(back.tape, dy, db);
        }
    }
}
