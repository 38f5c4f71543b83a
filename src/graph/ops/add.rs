//! `y = a + b`; both inputs share the gradient `dy`.

use super::{expect_shape, width};
use crate::{
    graph::{
        tape::{Backward, Op, Tape},
        tensor::{Tensor, size},
    },
    kernels::add_vec4::{Accumulate, Forward, Params},
};

struct Add;

/// The sum of two tensors of one shape.
pub fn add(tape: &mut Tape, a: Tensor, b: Tensor) -> Tensor {
    expect_shape("add", "b", b, a.rows, a.cols);
    tape.apply(Add, &[a, b])
}

impl Op for Add {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let &[a, b] = inputs else { unreachable!("add has two inputs") };
        let y = tape.transient(a.rows, a.cols);
        let n = a.len();
        width::run_items(tape, n, Forward { a, b, y }, Params { n: size(n) });
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        add_gradient(back, 0);
        add_gradient(back, 1);
    }
}

/// Passes `dy` on as the gradient of input `i`.
pub(super) fn add_gradient(back: &mut Backward<'_>, i: usize) {
    if back.alias(i) {
        return;
    }
    if let Some(grad) = back.gradient(i) {
        accumulate(back.tape, back.dy, grad.tensor);
    }
}

/// `y += a`
pub(super) fn accumulate(tape: &mut Tape, a: Tensor, y: Tensor) {
    let n = a.len();
    width::run_items(tape, n, Accumulate { a, y }, Params { n: size(n) });
}
