//! How other forms of the products are tried: see [`crate::gpu::tune`].

use super::{Product, nn, nt, tn};
use crate::{
    gpu::{
        Extents, Kernel, Trial,
        kernels::{
            linear::{self, Params},
            linear_narrow, linear_shallow,
        },
    },
    graph::{
        tape::{Command, Tape},
        tensor::{Format, GROUP, Packed, Role, Store, Tensor},
    },
};

pub(super) const NT: Trial = trial(|| ragged(record_nt, NT_ADDS, &linear::NT));
pub(super) const NARROW: Trial = trial(|| ragged(record_nt, NT_ADDS, &linear_narrow::NT));
pub(super) const NN: Trial = trial(|| ragged(record_nn, ADDS, &linear::NN));
pub(super) const SHALLOW: Trial = trial(|| ragged(record_nn, ADDS, &linear_shallow::NN));
pub(super) const TN: Trial = trial(|| ragged(record_tn, ADDS, &linear::TN));

/// Extents that no tile divides, multiples of 4 like those of the kernels that have other forms.
const SHAPES: [[usize; 3]; 5] = [[12, 4, 20], [36, 132, 4], [132, 68, 100], [260, 516, 36], [140, 36, 68]];

/// What is added to the sums.
#[derive(Clone, Copy, PartialEq)]
enum Adds {
    Nothing,
    Bias,
    /// What is there.
    Before,
    /// That and a residual.
    Residual,
}

const NT_ADDS: &[Adds] = &[Adds::Bias, Adds::Before, Adds::Residual];
/// To the sums of nn and tn.
const ADDS: &[Adds] = &[Adds::Nothing, Adds::Before];

impl Adds {
    fn accumulate(self) -> u32 {
        u32::from(matches!(self, Self::Before | Self::Residual))
    }

    /// `[rows, cols]`: those of Y.
    fn addend(self, mut tensor: impl FnMut(usize, usize) -> Tensor, [rows, cols]: [usize; 2]) -> Option<Tensor> {
        match self {
            Self::Bias => Some(tensor(1, cols)),
            Self::Residual => Some(tensor(rows, cols)),
            Self::Nothing | Self::Before => None,
        }
    }
}

const fn trial(ragged: fn() -> Vec<Extents>) -> Trial {
    Trial { work, fill: |_, _, _| None, ragged }
}

/// Of the products with a packed W: nt and nn.
macro_rules! packed {
    ($format:expr) => {
        [
            Trial { fill: |_, binding, words| fill($format, binding, words), ..trial(|| packed($format, false)) },
            Trial { fill: |_, binding, words| fill($format, binding, words), ..trial(|| packed($format, true)) },
        ]
    };
}
pub(super) const BF16: [Trial; 2] = packed!(Format::Bf16);
pub(super) const F16: [Trial; 2] = packed!(Format::F16);
pub(super) const Q8: [Trial; 2] = packed!(Format::Q8);
pub(super) const Q4: [Trial; 2] = packed!(Format::Q4);
pub(super) const NF4: [Trial; 2] = packed!(Format::Nf4);

/// As [`SHAPES`], for rows of W of whole groups; the depth of nt, the columns of nn.
const PACKED_SHAPES: [[usize; 3]; 3] = [[12, 4, 64], [36, 132, 128], [132, 516, 192]];

/// Numbers of at most 1 as a format holds them: random halves, and halves of random f32, would be of any size.
fn fill(format: Format, binding: &str, words: usize) -> Option<Vec<u32>> {
    let number = |i: usize| (i * 2_654_435_761 % 2039) as f32 / 1019.5 - 1.0;
    let some: Vec<f32> = (0..1019 * GROUP).map(number).collect();
    let Packed { words: numbers, groups } = format.pack(&some);
    let all = if format.has_groups() { words / (numbers.len() / groups.len() + 1) } else { 0 };
    let numbers = numbers.iter().cycle().take(words - all);
    (binding == "words").then(|| numbers.chain(groups.iter().cycle().take(all)).copied().collect())
}

fn packed(format: Format, by_rows: bool) -> Vec<Extents> {
    let (mut store, mut tape) = (Store::default(), Tape::new());
    for [m, few, many] in PACKED_SHAPES {
        for &adds in if by_rows { ADDS } else { NT_ADDS } {
            let m = m - 1;
            let [n, k] = if by_rows { [many, few] } else { [few, many] };
            let mut tensor = |rows, cols| store.declare("ragged", Role::Inputs, rows, cols);
            let (x, y, addend) = (tensor(m, k), tensor(m, n), adds.addend(&mut tensor, [m, n]));
            let [rows, cols] = if by_rows { [k, n] } else { [n, k] };
            let w = store.declare_packed("ragged", Role::Inputs, rows, cols, format);
            let product = Product::dense(m, n, k).accumulate(adds.accumulate());
            match by_rows {
                true => nn(&mut tape, x, w, y, product),
                false => nt(&mut tape, x, w, addend, y, product),
            }
        }
    }
    tape.finish().commands.iter().filter_map(Command::dispatch).map(|(_, extents)| extents).collect()
}

fn work(params: &[u8]) -> f64 {
    let Params { m, n, k, .. } = bytemuck::pod_read_unaligned(params);
    [m, n, k].map(f64::from).iter().product()
}

/// One of the products: its extents, elements by which rows are wider than they need be, and what is added.
type Record = fn(&mut Tape, &mut dyn FnMut(usize, usize) -> Tensor, [usize; 3], usize, Adds);

/// Dense and within wider rows, with all that may be added: what comes to `kernel` of that.
fn ragged(record: Record, all: &[Adds], kernel: &Kernel) -> Vec<Extents> {
    let (mut store, mut tape) = (Store::default(), Tape::new());
    let mut tensor = |rows, cols| store.declare("ragged", Role::Inputs, rows, cols);
    for (i, shape) in SHAPES.into_iter().enumerate() {
        for &adds in all {
            record(&mut tape, &mut tensor, shape, 8 * (i % 2), adds);
        }
    }
    let dispatches = tape.finish().commands.iter().filter_map(Command::dispatch).collect::<Vec<_>>();
    dispatches.into_iter().filter(|(ran, _)| ran.name == kernel.name).map(|(_, extents)| extents).collect()
}

fn record_nt(
    tape: &mut Tape,
    tensor: &mut dyn FnMut(usize, usize) -> Tensor,
    [m, n, k]: [usize; 3],
    more: usize,
    adds: Adds,
) {
    let m = m - 1;
    let (x, w, y) = (tensor(m, k + more), tensor(n, k + more), tensor(m, n + more));
    let addend = adds.addend(tensor, [m, y.cols]);
    nt(tape, x, w, addend, y, Product::dense(m, n, k).strides(x.cols, w.cols, y.cols).accumulate(adds.accumulate()));
}

fn record_nn(
    tape: &mut Tape,
    tensor: &mut dyn FnMut(usize, usize) -> Tensor,
    [m, n, k]: [usize; 3],
    more: usize,
    adds: Adds,
) {
    let m = m - 1;
    let (x, w, y) = (tensor(m, k + more), tensor(k, n + more), tensor(m, n + more));
    nn(tape, x, w, y, Product::dense(m, n, k).strides(x.cols, w.cols, y.cols).accumulate(adds.accumulate()));
}

fn record_tn(
    tape: &mut Tape,
    tensor: &mut dyn FnMut(usize, usize) -> Tensor,
    [m, n, k]: [usize; 3],
    more: usize,
    adds: Adds,
) {
    let k = k - 1;
    let (x, w, y) = (tensor(k, m + more), tensor(k, n + more), tensor(m, n + more));
    tn(tape, x, w, y, Product::dense(m, n, k).strides(x.cols, w.cols, y.cols).accumulate(adds.accumulate()));
}
