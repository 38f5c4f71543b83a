//! Every variant of a product that the device offers, against f64 at ragged shapes: rows with room behind them, memory
//! around all operands full of NaN, a bias or a residual, results added to; twice, for the same bits.

use underdog::{
    gpu::{Gpu, KernelGroup, Variant, adapters},
    graph::{
        ops::{
            self,
            matmul::{self, Product},
        },
        plan::Plan,
        tape::{Command, Recording, Tape},
        tensor::{Memory, Role, Store, Tensor},
    },
};

use crate::{common::Rng, skip::skip};

/// Largest error of f32 sums, as a share of the sum of absolute products.
const F32: f64 = 1e-6;
/// Both factors rounded to f16, each by 2^-11 at most, and twice that where a device cuts instead of rounding.
const F16: f64 = 1.0 / 512.0;
/// Factors keep away from where f16 loses digits.
const SMALLEST: f32 = 1.0 / 512.0;

/// `entry` of the group's kernel, extents, room behind rows of X, W and Y.
#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    room: [usize; 3],
    addend: Addend,
    accumulate: bool,
}

#[derive(Clone, Copy, Debug)]
enum Addend {
    Nothing,
    Bias,
    Residual,
}

fn cases(entry: &str) -> Vec<Case> {
    use Addend::{Bias, Nothing, Residual};
    let ragged = [
        (1, 4, 4, [0, 0, 0], Nothing, false),
        (3, 20, 36, [4, 8, 12], Bias, true),
        (17, 68, 44, [0, 4, 0], Residual, true),
        (127, 132, 68, [8, 0, 4], Nothing, true),
        (128, 128, 64, [4, 4, 4], Residual, false),
        (64, 256, 96, [0, 0, 8], Nothing, true),
        (257, 36, 260, [0, 0, 0], Bias, false),
    ];
    let case = |(m, n, k, room, addend, accumulate): (usize, usize, usize, _, _, _)| {
        // tn wants multiples of 4 rows, and takes any depth.
        let [m, k] = if entry == "tn" { [m.next_multiple_of(4), k - k % 3] } else { [m, k] };
        Case { m, n, k, room, addend: if entry == "nt" { addend } else { Nothing }, accumulate }
    };
    ragged.into_iter().map(case).collect()
}

/// A matrix in memory: rows of `cols` numbers, `ld` apart, and NaN wherever else.
struct Operand {
    cols: usize,
    ld: usize,
    values: Vec<f32>,
}

/// Rows behind the last one.
const BEYOND: usize = 2;

impl Operand {
    fn new(rows: usize, cols: usize, room: usize, mut number: impl FnMut() -> f32) -> Self {
        let ld = cols + room;
        let mut values = vec![f32::NAN; (rows + BEYOND) * ld];
        for row in values.chunks_mut(ld).take(rows) {
            row[..cols].iter_mut().for_each(|x| *x = number());
        }
        Self { cols, ld, values }
    }

    fn at(&self, row: usize, col: usize) -> f64 {
        f64::from(self.values[row * self.ld + col])
    }

    fn declare(&self, store: &mut Store) -> Tensor {
        store.declare("operand", Role::Inputs, self.values.len() / self.ld, self.ld)
    }
}

struct Operands {
    x: Operand,
    w: Operand,
    y: Operand,
    addend: Operand,
}

impl Operands {
    fn new(entry: &str, case: &Case, mut number: impl FnMut() -> f32) -> Self {
        let Case { m, n, k, room, .. } = *case;
        let [x, w] = match entry {
            "nt" => [[m, k], [n, k]],
            "nn" => [[m, k], [k, n]],
            _ => [[k, m], [k, n]],
        };
        let mut operand = |[rows, cols]: [usize; 2], room| Operand::new(rows, cols, room, &mut number);
        let [x, w, y] = [(x, room[0]), (w, room[1]), ([m, n], room[2])].map(|(extents, room)| operand(extents, room));
        let addend = match case.addend {
            Addend::Residual => operand([m, n], room[2]),
            Addend::Nothing | Addend::Bias => operand([1, n], 0),
        };
        Self { x, w, y, addend }
    }

    /// One element, and the sum of the absolute values of its terms.
    fn wanted(&self, entry: &str, case: &Case, row: usize, col: usize) -> (f64, f64) {
        let term = |t: usize| match entry {
            "nt" => self.x.at(row, t) * self.w.at(col, t),
            "nn" => self.x.at(row, t) * self.w.at(t, col),
            _ => self.x.at(t, row) * self.w.at(t, col),
        };
        let addend = match case.addend {
            Addend::Nothing => None,
            Addend::Bias => Some(self.addend.at(0, col)),
            Addend::Residual => Some(self.addend.at(row, col)),
        };
        let before = case.accumulate.then(|| self.y.at(row, col));
        let terms = (0..case.k).map(term).chain(addend).chain(before);
        terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
    }
}

/// A product that is recorded as a model would record it.
struct Recorded {
    store: Store,
    recording: Recording,
    params: Vec<u8>,
    y: Tensor,
    inputs: Vec<(Tensor, Vec<f32>)>,
}

fn record(group: &'static KernelGroup, case: &Case, operands: &Operands) -> Recorded {
    let mut store = Store::default();
    let Operands { x, w, y, addend } = operands;
    let [tx, tw, ty, ta] = [x, w, y, addend].map(|operand| operand.declare(&mut store));
    let added = match case.addend {
        Addend::Nothing => None,
        Addend::Bias => Some(Tensor { rows: 1, ..ta }),
        Addend::Residual => Some(Tensor { rows: case.m, ..ta }),
    };
    let product = Product::dense(case.m, case.n, case.k).accumulate(u32::from(case.accumulate));
    let product = product.strides(x.ld, w.ld, y.ld);
    let mut tape = Tape::new();
    match group.kernel.entry {
        "nt" => matmul::nt(&mut tape, tx, tw, added, ty, product),
        "nn" => matmul::nn(&mut tape, tx, tw, ty, product),
        "tn" => matmul::tn(&mut tape, tx, tw, ty, product),
        other => panic!("{other}: no such product"),
    }
    let recording = tape.finish();
    // Long sums are made of several of one class.
    let Some(Command::Dispatch { kernel, params, .. }) = recording.commands.first() else { panic!("a dispatch") };
    let params = params.clone();
    // Few rows, columns or terms take another kernel, which has no other variants or the same.
    let few = match group.kernel.entry {
        "nt" => case.m < 8 || case.n <= 64,
        "nn" => case.k <= 32,
        _ => false,
    };
    assert!(few || kernel.name == group.kernel.name, "{case:?} is recorded as {}", kernel.name);
    let inputs = [(tx, x), (tw, w), (ta, addend)].map(|(tensor, operand)| (tensor, operand.values.clone())).into();
    Recorded { store, recording, params, y: ty, inputs }
}

impl Recorded {
    /// Y after each of two runs of the variant.
    fn run(self, gpu: &Gpu, group: &'static KernelGroup, variant: &'static Variant, before: &[f32]) -> [Vec<f32>; 2] {
        let class = (group.class)(&self.params);
        assert!((variant.grid)(&self.params).is_some(), "{}: does not take this", variant.name);
        gpu.choose(group, class.clone(), Some(variant));
        let memory = Memory::allocate(gpu, &self.store).expect("memory of a test");
        for (tensor, values) in &self.inputs {
            memory.write(gpu, *tensor, 0, values);
        }
        let mut program = Plan::new(as_of(self.recording, group)).load(gpu, &memory).expect("slots of a test");
        gpu.choose(group, class, None);
        [0, 1].map(|_| {
            memory.write(gpu, self.y, 0, before);
            program.run(gpu).expect("run");
            memory.read(gpu, self.y).expect("read")
        })
    }
}

/// The recording with the group's kernel, where few rows, columns or terms were recorded with another.
fn as_of(mut recording: Recording, group: &'static KernelGroup) -> Recording {
    for command in &mut recording.commands {
        if let Command::Dispatch { kernel, .. } = command {
            *kernel = group.kernel;
        }
    }
    recording
}

/// The largest error as a share of the terms' size.
fn error(operands: &Operands, entry: &str, case: &Case, got: &[f32]) -> Result<f64, String> {
    let mut worst = 0.0;
    let Operand { cols, ld, values } = &operands.y;
    for (i, (got, before)) in got.iter().zip(values).enumerate() {
        let (row, col) = (i / ld, i % ld);
        if row >= case.m || col >= *cols {
            if got.to_bits() != before.to_bits() {
                return Err(format!("memory around Y changed at [{row}, {col}]"));
            }
            continue;
        }
        let (want, size) = operands.wanted(entry, case, row, col);
        let error = (f64::from(*got) - want).abs() / size;
        if error.is_nan() {
            return Err(format!("got {got} at [{row}, {col}], want {want}"));
        }
        worst = f64::max(worst, error);
    }
    Ok(worst)
}

fn same_bits([first, second]: &[Vec<f32>; 2]) -> bool {
    first.iter().zip(second).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Whether the device has subgroups of one size only; else it chooses, and variants for the other sizes must fail.
fn one_subgroup() -> bool {
    let adapters = adapters(None).unwrap_or_else(|error| panic!("{error}"));
    adapters.iter().filter(|a| a.chosen).all(|a| a.subgroup[0] == a.subgroup[1])
}

fn products() -> impl Iterator<Item = &'static KernelGroup> {
    ops::groups().filter(|group| group.kernel.module.name == "linear")
}

/// A device of its own: choices belong to it.
fn device() -> Gpu {
    let gpu = underdog::platform::open(None).unwrap_or_else(|error| panic!("{error}"));
    if let Ok(size) = std::env::var("UNDERDOG_EXPECT_COOPERATIVE") {
        let has = gpu.cooperative().iter().any(|unit| unit.size.to_string() == size && unit.half);
        assert!(has, "wanted matrix units of {size} with f16, found {:?}", gpu.cooperative());
    }
    gpu
}

/// What is wrong with a variant.
fn failures(gpu: &Gpu, group: &'static KernelGroup, variant: &'static Variant) -> Vec<String> {
    let entry = group.kernel.entry;
    let (mut failures, mut worst) = (Vec::new(), 0.0);
    for case in cases(entry) {
        let mut rng = Rng((case.m * 31 + case.n * 7 + case.k) as u64);
        let operands = Operands::new(entry, &case, || {
            let x = rng.normal() as f32;
            x + SMALLEST.copysign(x)
        });
        let got = record(group, &case, &operands).run(gpu, group, variant, &operands.y.values);
        if !same_bits(&got) {
            failures.push(format!("{case:?}: the second run differs"));
        }
        let allowed = if variant.half { F16 } else { F32 };
        match error(&operands, entry, &case, &got[0]) {
            Ok(error) if error <= allowed => worst = f64::max(worst, error),
            Ok(error) => failures.push(format!("{case:?}: off by {error:.1e} of its terms, allowed {allowed:.1e}")),
            Err(failure) => failures.push(format!("{case:?}: {failure}")),
        }
    }
    // Factors that were not rounded mean that another has run.
    if variant.half && worst < F32 && failures.is_empty() {
        failures.push(format!("an error of {worst:.1e} is too small for f16"));
    }
    failures.extend(long_sum(gpu, group, variant));
    failures
}

/// Drivers end long loops silently: as many ones as a product may sum. Large workgroups make no more trips than small ones,
/// and would take minutes where a driver is slow.
fn long_sum(gpu: &Gpu, group: &'static KernelGroup, variant: &'static Variant) -> Option<String> {
    if variant.invocations > 64 {
        return None;
    }
    let case = Case { m: 8, n: 4, k: ops::MAX_TERMS, room: [0; 3], addend: Addend::Nothing, accumulate: false };
    let operands = Operands::new(group.kernel.entry, &case, || 1.0);
    let [got, _] = record(group, &case, &operands).run(gpu, group, variant, &operands.y.values);
    let wrong = got[..case.m * case.n].iter().find(|y| **y != case.k as f32);
    wrong.map(|y| format!("{} ones sum to {y}", case.k))
}

#[test]
fn variants_of_products() {
    assert_eq!(products().map(|group| group.kernel.entry).collect::<Vec<_>>(), ["nt", "nn", "tn"]);
    let (gpu, certain) = (device(), one_subgroup());
    let (mut wrong, mut passed, mut skipped) = (Vec::new(), 0, Vec::new());
    for (group, variant) in products().flat_map(|group| group.variants.iter().map(move |variant| (group, variant))) {
        let name = format!("{} as `{}`", group.kernel.name, variant.name);
        if !gpu.offers(variant) {
            skipped.push(name);
            continue;
        }
        let found = failures(&gpu, group, variant);
        if !certain && variant.subgroup().is_some() && !found.is_empty() {
            skipped.push(format!("{name} (other subgroups were chosen)"));
            continue;
        }
        passed += 1;
        wrong.extend(found.into_iter().map(|failure| format!("{name}: {failure}")));
    }
    if !skipped.is_empty() {
        skip("variants_of_products", &format!("the device does not offer {}", skipped.join(", ")));
    }
    assert!(passed > 0 && wrong.is_empty(), "{} failures:\n{}", wrong.len(), wrong.join("\n"));
}
