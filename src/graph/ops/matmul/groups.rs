//! The products that have variants, and how those are tried: see [`crate::kernels::tuner`].

use std::sync::LazyLock;

use super::{Product, nn, nt, tn};
use crate::{
    gpu::{Extents, Kernel, KernelGroup, Trial, Variant},
    graph::{
        ops::packed,
        tape::{Command, Tape},
        tensor::{Format, GROUP, Packed, Role, Store, Tensor},
    },
    kernels::{
        linear::{self, Params},
        linear_narrow, linear_small_k,
        variants::products::{self, Operands},
    },
};

/// Every product with variants.
pub(in crate::graph::ops) static GROUPS: LazyLock<Vec<KernelGroup>> = LazyLock::new(|| {
    let [in_f32_nt, in_f32_nn, in_f32_tn] = [Operands::Nt, Operands::Nn, Operands::Tn].map(products::f32);
    let mut groups = vec![
        group(&linear::NT, in_f32_nt, || ragged(Operands::Nt, &linear::NT)),
        group(&linear_narrow::NT, in_f32_nt, || ragged(Operands::Nt, &linear_narrow::NT)),
        group(&linear::NN, in_f32_nn, || ragged(Operands::Nn, &linear::NN)),
        group(&linear_small_k::NN, in_f32_nn, || ragged(Operands::Nn, &linear_small_k::NN)),
        group(&linear::TN, in_f32_tn, || ragged(Operands::Tn, &linear::TN)),
    ];
    macro_rules! packed_groups {
        ($($format:ident)*) => {
            $(
                let kernels = packed::kernels(Format::$format);
                let filled: Fill = |_, binding, words| fill(Format::$format, binding, words);
                let ragged: [fn() -> Vec<Extents>; 2] =
                    [|| ragged_packed(Format::$format, false), || ragged_packed(Format::$format, true)];
                let products = [(kernels.nt, Operands::Nt), (kernels.nn, Operands::Nn)];
                groups.extend(products.into_iter().zip(ragged).map(|((kernel, operands), ragged)| {
                    let made = group(kernel, products::packed(kernels.tiles, operands), ragged);
                    KernelGroup { trial: Trial { fill: filled, ..made.trial }, ..made }
                }));
            )*
        };
    }
    packed_groups! { Bf16 F16 Q8 Q4 Nf4 }
    groups
});

type Fill = fn(&[u8], &str, usize) -> Option<Vec<u32>>;

fn group(kernel: &'static Kernel, variants: &'static [Variant], ragged: fn() -> Vec<Extents>) -> KernelGroup {
    KernelGroup { kernel, class, variants, trial: Trial { work, fill: |_, _, _| None, ragged } }
}

/// Extents of one class share a choice: each is rounded up to a power of two between these.
const CLASSES: [u32; 2] = [16, 8192];

fn class(params: &[u8]) -> String {
    let Params { m, n, k, .. } = bytemuck::pod_read_unaligned(params);
    let [m, n, k] = [m, n, k].map(|extent| extent.clamp(CLASSES[0], CLASSES[1]).next_power_of_two());
    format!("{m}x{n}x{k}")
}

fn work(params: &[u8]) -> f64 {
    let Params { m, n, k, .. } = bytemuck::pod_read_unaligned(params);
    [m, n, k].map(f64::from).iter().product()
}

/// Numbers of at most 1 as a format stores them: random halves, and halves of random f32, would be of any size.
fn fill(format: Format, binding: &str, words: usize) -> Option<Vec<u32>> {
    let number = |i: usize| (i * 2_654_435_761 % 2039) as f32 / 1019.5 - 1.0;
    let some: Vec<f32> = (0..1019 * GROUP).map(number).collect();
    let Packed { words: numbers, groups } = format.pack(&some);
    let all = if format.has_groups() { words / (numbers.len() / groups.len() + 1) } else { 0 };
    let numbers = numbers.iter().cycle().take(words - all);
    (binding == "words").then(|| numbers.chain(groups.iter().cycle().take(all)).copied().collect())
}

/// Extents that no tile divides, multiples of 4 like those of the kernels that have variants.
const SHAPES: [[usize; 3]; 5] = [[12, 4, 20], [36, 132, 4], [132, 68, 100], [260, 516, 36], [140, 36, 68]];
/// As [`SHAPES`], for rows of a packed W of whole groups; the depth of nt, the columns of nn.
const PACKED_SHAPES: [[usize; 3]; 3] = [[12, 4, 64], [36, 132, 128], [132, 516, 192]];

/// What is added to the sums: what is there, and a bias `[1, n]` or a residual of so many rows.
type Adds = (bool, Option<usize>);

/// All that a product may add to its sums of `m` rows.
fn adds(operands: Operands, m: usize) -> Vec<Adds> {
    match operands {
        Operands::Nt => vec![(false, Some(1)), (true, None), (true, Some(m))],
        Operands::Nn | Operands::Tn => vec![(false, None), (true, None)],
    }
}

/// Dense and within wider rows, with all that may be added: what comes to `kernel` of that.
fn ragged(operands: Operands, kernel: &Kernel) -> Vec<Extents> {
    let (mut store, mut tape) = (Store::default(), Tape::new());
    for (i, [m, n, k]) in SHAPES.into_iter().enumerate() {
        let more = 8 * (i % 2);
        // The extent that kernels do not take in fours is odd.
        let [m, k] = if operands == Operands::Tn { [m, k - 1] } else { [m - 1, k] };
        for (accumulates, rows) in adds(operands, m) {
            let mut tensor = |rows, cols| store.declare("ragged", Role::Inputs, rows, cols + more);
            let [x, w] = match operands {
                Operands::Nt => [tensor(m, k), tensor(n, k)],
                Operands::Nn => [tensor(m, k), tensor(k, n)],
                Operands::Tn => [tensor(k, m), tensor(k, n)],
            };
            let (y, added) = (tensor(m, n), rows.map(|rows| tensor(rows, n)));
            let product = Product::dense(m, n, k).strides(x.cols, w.cols, y.cols);
            record(&mut tape, operands, [x, w, y], added, product.accumulate(accumulates.into()));
        }
    }
    let dispatches = tape.finish().commands.into_iter().filter_map(|command| command.dispatch()).collect::<Vec<_>>();
    dispatches.into_iter().filter(|(ran, _)| ran.name == kernel.name).map(|(_, extents)| extents).collect()
}

fn ragged_packed(format: Format, by_rows: bool) -> Vec<Extents> {
    let operands = if by_rows { Operands::Nn } else { Operands::Nt };
    let (mut store, mut tape) = (Store::default(), Tape::new());
    for [m, few, many] in PACKED_SHAPES {
        let m = m - 1;
        let ([n, k], [rows, cols]) = if by_rows { ([many, few], [few, many]) } else { ([few, many], [few, many]) };
        for (accumulates, added) in adds(operands, m) {
            let w = store.declare_packed("ragged", Role::Inputs, rows, cols, format);
            let mut tensor = |rows, cols| store.declare("ragged", Role::Inputs, rows, cols);
            let (x, y, added) = (tensor(m, k), tensor(m, n), added.map(|rows| tensor(rows, n)));
            let product = Product::dense(m, n, k).accumulate(accumulates.into());
            record(&mut tape, operands, [x, w, y], added, product);
        }
    }
    tape.finish().commands.iter().filter_map(Command::dispatch).map(|(_, extents)| extents).collect()
}

fn record(tape: &mut Tape, operands: Operands, [x, w, y]: [Tensor; 3], added: Option<Tensor>, product: Product) {
    match operands {
        Operands::Nt => nt(tape, x, w, added, y, product),
        Operands::Nn => nn(tape, x, w, y, product),
        Operands::Tn => tn(tape, x, w, y, product),
    }
}
