//! How other forms of the products are tried: see [`crate::gpu::tune`].

use super::{Product, nn, nt, tn};
use crate::{
    gpu::{Extents, Trial, kernels::linear::Params},
    tape::{Command, Tape},
    tensor::{Role, Store, Tensor},
};

pub(super) const NT: Trial = trial(|| ragged(record_nt));
pub(super) const NN: Trial = trial(|| ragged(record_nn));
pub(super) const TN: Trial = trial(|| ragged(record_tn));

/// Extents that no tile divides, multiples of 4 like those of the kernels that have other forms.
const SHAPES: [[usize; 3]; 4] = [[12, 4, 20], [36, 132, 4], [132, 68, 100], [260, 516, 36]];

const fn trial(ragged: fn() -> Vec<Extents>) -> Trial {
    Trial { work, fill: |_, _, _| None, ragged }
}

fn work(params: &[u8]) -> f64 {
    let Params { m, n, k, .. } = bytemuck::pod_read_unaligned(params);
    [m, n, k].map(f64::from).iter().product()
}

/// One of the products: its extents, elements by which rows are wider than they need be, and whether it adds.
type Record = fn(&mut Tape, &mut dyn FnMut(usize, usize) -> Tensor, [usize; 3], usize, u32);

/// Dense and within wider rows, overwriting and adding.
fn ragged(record: Record) -> Vec<Extents> {
    let (mut store, mut tape) = (Store::default(), Tape::new());
    let mut tensor = |rows, cols| store.declare("ragged", Role::Inputs, rows, cols);
    for (i, shape) in SHAPES.into_iter().enumerate() {
        for adds in [0, 1] {
            record(&mut tape, &mut tensor, shape, 8 * (i % 2), adds);
        }
    }
    tape.finish().commands.iter().filter_map(Command::dispatch).map(|(_, extents)| extents).collect()
}

fn record_nt(
    tape: &mut Tape,
    tensor: &mut dyn FnMut(usize, usize) -> Tensor,
    [m, n, k]: [usize; 3],
    more: usize,
    adds: u32,
) {
    let m = m - 1;
    let (x, w, y) = (tensor(m, k + more), tensor(n, k + more), tensor(m, n + more));
    let bias = (adds == 0).then(|| tensor(1, n));
    nt(tape, x, w, bias, y, Product::dense(m, n, k).strides(x.cols, w.cols, y.cols).accumulate(adds));
}

fn record_nn(
    tape: &mut Tape,
    tensor: &mut dyn FnMut(usize, usize) -> Tensor,
    [m, n, k]: [usize; 3],
    more: usize,
    adds: u32,
) {
    let m = m - 1;
    let (x, w, y) = (tensor(m, k + more), tensor(k, n + more), tensor(m, n + more));
    nn(tape, x, w, y, Product::dense(m, n, k).strides(x.cols, w.cols, y.cols).accumulate(adds));
}

fn record_tn(
    tape: &mut Tape,
    tensor: &mut dyn FnMut(usize, usize) -> Tensor,
    [m, n, k]: [usize; 3],
    more: usize,
    adds: u32,
) {
    let k = k - 1;
    let (x, w, y) = (tensor(k, m + more), tensor(k, n + more), tensor(m, n + more));
    tn(tape, x, w, y, Product::dense(m, n, k).strides(x.cols, w.cols, y.cols).accumulate(adds));
}
