//! `y = x + f w` with `f = share (1 - lambda) / lambda`: hidden states of two models that share a head, mixed before it, since
//! `lambda y W^T = lambda x W^T + (1 - lambda) share w W^T`. `dx = dy`, `dw = f dy`.

use super::{add::add_gradient, expect_shape};
use crate::{
    graph::{
        tape::{Backward, Grid, Op, Tape},
        tensor::{Tensor, size},
    },
    kernels::blend::{self as kernels, Params},
};

struct Blend {
    scalars: Tensor,
    share: f32,
}

/// `x` with `w`, which has this share of what is mixed in, by the step's lambda in `scalars`.
pub fn blend(tape: &mut Tape, x: Tensor, w: Tensor, share: f32, scalars: Tensor) -> Tensor {
    expect_shape("blend", "w", w, x.rows, x.cols);
    tape.apply(Blend { scalars, share }, &[x, w])
}

impl Blend {
    fn params(&self, x: Tensor, accumulate: u32) -> Params {
        Params { n: size(x.len()), share: self.share, accumulate }
    }
}

impl Op for Blend {
    fn forward(&self, tape: &mut Tape, inputs: &[Tensor]) -> Vec<Tensor> {
        let &[x, w] = inputs else { unreachable!("blend has two inputs") };
        let y = tape.transient(x.rows, x.cols);
        let launch = kernels::Forward { x, w, scalars: self.scalars, y };
        tape.run(launch, self.params(x, 0), Grid::items(x.len(), 64));
        vec![y]
    }

    fn backward(&self, back: &mut Backward<'_>) {
        add_gradient(back, 0);
        if let Some(dw) = back.gradient(1) {
            let dy = back.dy;
            let launch = kernels::Backward { dy, scalars: self.scalars, dw: dw.tensor };
            back.tape.run(launch, self.params(dy, dw.accumulate), Grid::items(dy.len(), 64));
        }
    }
}
