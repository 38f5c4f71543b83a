//! How other forms of the products are tried: see [`crate::gpu::tune`].

use super::{Product, nn, nt, tn};
use crate::{
    gpu::{Extents, Trial, kernels::linear::Params},
    tape::{Command, Tape},
    tensor::{Format, Role, Store, Tensor},
};

pub(super) const NT: Trial = trial(|| ragged(record_nt));
pub(super) const NN: Trial = trial(|| ragged(record_nn));
pub(super) const TN: Trial = trial(|| ragged(record_tn));

/// Extents that no tile divides, multiples of 4 like those of the kernels that have other forms.
const SHAPES: [[usize; 3]; 4] = [[12, 4, 20], [36, 132, 4], [132, 68, 100], [260, 516, 36]];

const fn trial(ragged: fn() -> Vec<Extents>) -> Trial {
    Trial { work, fill: |_, _, _| None, ragged }
}

/// Of the products with a packed W: nt and nn.
pub(super) const BF16: [Trial; 2] = [
    Trial { fill: small_bf16, ..trial(|| packed(Format::Bf16, false)) },
    Trial { fill: small_bf16, ..trial(|| packed(Format::Bf16, true)) },
];
pub(super) const Q8: [Trial; 2] = [trial(|| packed(Format::Q8, false)), trial(|| packed(Format::Q8, true))];
pub(super) const Q4: [Trial; 2] = [trial(|| packed(Format::Q4, false)), trial(|| packed(Format::Q4, true))];
pub(super) const NF4: [Trial; 2] = [trial(|| packed(Format::Nf4, false)), trial(|| packed(Format::Nf4, true))];

/// As [`SHAPES`], for rows of W of whole groups; the depth of nt, the columns of nn.
const PACKED_SHAPES: [[usize; 3]; 3] = [[12, 4, 64], [36, 132, 128], [132, 516, 192]];

/// Pairs of bfloat16 of at most 1: the halves of random f32 would be of any size.
fn small_bf16(_: &[u8], binding: &str, words: usize) -> Option<Vec<u32>> {
    let halves = |i: usize| {
        let number = |i: usize| (i * 2_654_435_761 % 2039) as f32 / 1019.5 - 1.0;
        Format::Bf16.pack(&[number(2 * i), number(2 * i + 1)]).words[0]
    };
    (binding == "words").then(|| (0..words).map(halves).collect())
}

fn packed(format: Format, by_rows: bool) -> Vec<Extents> {
    let (mut store, mut tape) = (Store::default(), Tape::new());
    for [m, few, many] in PACKED_SHAPES {
        for adds in [0, 1] {
            let m = m - 1;
            let [n, k] = if by_rows { [many, few] } else { [few, many] };
            let mut tensor = |rows, cols| store.declare("ragged", Role::Inputs, rows, cols);
            let (x, y, bias) = (tensor(m, k), tensor(m, n), tensor(1, n));
            let [rows, cols] = if by_rows { [k, n] } else { [n, k] };
            let w = store.declare_packed("ragged", Role::Inputs, rows, cols, format);
            let product = Product::dense(m, n, k).accumulate(adds);
            match by_rows {
                true => nn(&mut tape, x, w, y, product),
                false => nt(&mut tape, x, w, (adds == 0).then_some(bias), y, product),
            }
        }
    }
    tape.finish().commands.iter().filter_map(Command::dispatch).map(|(_, extents)| extents).collect()
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
