//! RMSNorm (Zhang & Sennrich 2019): `y = x r w`, `r = 1 / sqrt(mean(x^2) + eps)` over each row, `w = weight + offset`.
//! Gradients, with `n = x r` and `g = dy w`: `dx = r (g - n mean(g n))`, `dw = sum over rows of dy n`.

use super::{add::add_gradient, column_sum, expect_shape, width};
use crate::{
    graph::{
        tape::{Backward, Grid, Op, Tape},
        tensor::{Tensor, size},
    },
    kernels::rms_norm_vec4::{Backward as BackwardKernel, BackwardBoth, Forward, ForwardSum, Params, ROWS},
};

/// The constants of a norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Added to the mean square.
    pub eps: f32,
    /// Added to the weight: 0 in most models, 1 in Gemma's.
    pub offset: f32,
}

/// Normalises rows of the weight's length: `x`: `[T, C]` with `weight` `[1, C]`, or, per head, `[T, H * D]` with
/// `[1, D]`. The result has the shape of `x`.
pub fn rms_norm(tape: &mut Tape, x: Tensor, weight: Tensor, norm: Norm) -> Tensor {
    expect_shape("rms_norm", "weight", weight, 1, weight.cols);
    assert!(x.cols.is_multiple_of(weight.cols), "rms_norm: rows of {} do not divide {}", weight.cols, x.cols);
    let rows = x.len() / weight.cols;
    let y = tape.apply(RmsNorm(norm), &[x.reshape(rows, weight.cols), weight]);
    y.reshape(x.rows, x.cols)
}

/// `[a + b, rms_norm(a + b)]` in one pass: `a`, `b` and the results `[T, C]`, `weight` `[1, C]`. The same bits as of the two
/// ops.
pub fn add_norm(tape: &mut Tape, a: Tensor, b: Tensor, weight: Tensor, norm: Norm) -> [Tensor; 2] {
    expect_shape("add_norm", "b", b, a.rows, a.cols);
    expect_shape("add_norm", "weight", weight, 1, a.cols);
    let sum = tape.apply(Sum, &[a, b]);
    let y = tape.apply(RmsNorm(norm), &[sum, weight, a, b]);
    [sum, y]
}

/// The sum of two tensors, which the next op writes.
struct Sum;

impl Op for Sum {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        vec![tape.transient(inputs[0].rows, inputs[0].cols)]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        add_gradient(back, 0);
        add_gradient(back, 1);
    }
}

/// Of x, with a weight; or of a sum that it writes as well, with its two terms as third and fourth input, whose gradients
/// are the sum's.
struct RmsNorm(Norm);

impl RmsNorm {
    fn params(&self, x: Tensor, accumulate: u32) -> Params {
        let Norm { eps, offset } = self.0;
        Params { rows: size(x.rows), cols: size(x.cols), eps, offset, accumulate }
    }
}

impl Op for RmsNorm {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let (x, weight) = (inputs[0], inputs[1]);
        let y = tape.transient(x.rows, x.cols);
        let rstd = tape.transient(1, x.rows);
        let (width, params, grid) = (width::width(&[x.cols]), self.params(x, 0), grid(x));
        if let &[a, b] = &inputs[2..] {
            let launch = ForwardSum { a, b, weight, y, rstd, sum: x };
            width::run(tape, width, launch, params, grid);
        } else {
            width::run(tape, width, Forward { x, weight, y, rstd }, params, grid);
        }
        vec![y, rstd]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        let (x, weight, dy, saved_rstd) = (back.inputs[0], back.inputs[1], back.dy, back.outputs[1]);
        let (width, grid) = (width::width(&[x.cols]), grid(x));
        let Some(dw) = back.gradient(1) else {
            let Some(dx) = back.gradient(0) else { return };
            let launch = BackwardKernel { x, weight, dy, saved_rstd, dx: dx.tensor };
            let params = self.params(x, dx.accumulate);
            return width::run(back.tape, width, launch, params, grid);
        };
        let dx = back.gradient_or_scratch(0);
        let partial = back.tape.transient(x.rows.div_ceil(ROWS), x.cols);
        let launch = BackwardBoth { x, weight, dy, saved_rstd, dx: dx.tensor, partial };
        let params = self.params(x, dx.accumulate);
        width::run(back.tape, width, launch, params, grid);
        column_sum::column_sum(back.tape, partial, dw);
    }
}

fn grid(x: Tensor) -> Grid {
    Grid::linear(x.rows.div_ceil(ROWS))
}
