//! What the test binaries share: one device, matrices of exact numbers, and a harness that runs recorded ops on it.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::{collections::HashSet, sync::OnceLock};

use underdog::{
    gpu::{Gpu, Upload},
    graph::{
        plan::Plan,
        tape::{Command, Recording, Tape},
        tensor::{Format, Memory, Place, Role, Store, Tensor},
    },
};

/// The device that every test of a binary uses. `UNDERDOG_EXPECT_ADAPTER` names a part of its name: a driver that was not
/// found falls back silently to another.
pub(crate) fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        let gpu = underdog::platform::open(None).unwrap_or_else(|error| panic!("{error}"));
        eprintln!("adapter: {}", gpu.name());
        if let Ok(wanted) = std::env::var("UNDERDOG_EXPECT_ADAPTER") {
            assert!(gpu.name().contains(&wanted), "wanted adapter `{wanted}`, opened `{}`", gpu.name());
        }
        gpu
    })
}

/// A matrix `[rows, cols]`. Inputs hold numbers that f32 holds exactly.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mat {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) data: Vec<f64>,
}

impl Mat {
    pub(crate) fn new(rows: usize, cols: usize, data: Vec<f64>) -> Self {
        assert_eq!(data.len(), rows * cols);
        Self { rows, cols, data }
    }

    pub(crate) fn zeros(rows: usize, cols: usize) -> Self {
        Self::new(rows, cols, vec![0.0; rows * cols])
    }

    pub(crate) fn row(&self, r: usize) -> &[f64] {
        &self.data[r * self.cols..(r + 1) * self.cols]
    }

    pub(crate) fn row_mut(&mut self, r: usize) -> &mut [f64] {
        &mut self.data[r * self.cols..(r + 1) * self.cols]
    }

    pub(crate) fn f32(&self) -> Vec<f32> {
        self.data.iter().map(|x| *x as f32).collect()
    }

    pub(crate) fn largest(&self) -> f64 {
        self.data.iter().filter(|x| !x.is_nan()).fold(0.0, |a, x| a.max(x.abs()))
    }
}

/// SplitMix64 (Steele, Lea & Flood 2014): the same numbers everywhere.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In `(0, 1)`.
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Standard normal, rounded to f32.
    pub(crate) fn normal(&mut self) -> f64 {
        let (u, v) = (self.uniform(), self.uniform());
        f64::from(((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32)
    }

    /// Normal entries, rounded to f32.
    pub(crate) fn mat(&mut self, rows: usize, cols: usize, mean: f64, deviation: f64) -> Mat {
        let entry = |_| f64::from((mean + deviation * self.normal()) as f32);
        Mat::new(rows, cols, (0..rows * cols).map(entry).collect())
    }

    pub(crate) fn indices(&mut self, n: usize, below: usize) -> Vec<u32> {
        (0..n).map(|_| self.below(below) as u32).collect()
    }
}

/// How a matrix takes part in a computation.
pub(crate) enum Input<'a> {
    /// No gradient wanted.
    Frozen(&'a Mat),
    /// Likewise, held in this format.
    Packed(&'a Mat, Format),
    /// A parameter: its gradient is added to the second matrix.
    Param(&'a Mat, &'a Mat),
    /// Likewise, held in this format, and so is its gradient.
    PackedParam(&'a Mat, &'a Mat, Format),
    /// The result of an earlier op: its gradient is first written, then added to.
    Activation(&'a Mat),
    /// Indices, `[rows, cols]`.
    Index(&'a [u32], usize, usize),
}

/// What a computation left behind.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) value: Vec<f32>,
    /// Of every input that wants one.
    pub(crate) gradients: Vec<Option<Vec<f32>>>,
}

impl Outcome {
    fn bits(&self) -> Vec<Vec<u32>> {
        let bits = |values: &Vec<f32>| values.iter().map(|x| x.to_bits()).collect();
        std::iter::once(&self.value).chain(self.gradients.iter().flatten()).map(bits).collect()
    }
}

/// Runs what `record` records over `inputs`, and its backward from `upstream` (`None`: nothing seeds, or the op seeds
/// itself). Everything the ops may write holds NaN before. The program runs twice and must give the same bits.
pub(crate) fn run(
    inputs: &[Input<'_>],
    upstream: Option<&Mat>,
    record: impl FnOnce(&mut Tape, &[Tensor]) -> Tensor,
) -> Outcome {
    run_rows(inputs, upstream, usize::MAX, record)
}

/// As [`run`], with this many rows of the loss head in use.
pub(crate) fn run_rows(
    inputs: &[Input<'_>],
    upstream: Option<&Mat>,
    rows: usize,
    record: impl FnOnce(&mut Tape, &[Tensor]) -> Tensor,
) -> Outcome {
    run_on(gpu(), inputs, upstream, rows, record)
}

/// As [`run_rows`], on a device of the test's own, where forms of kernels were chosen.
pub(crate) fn run_on(
    gpu: &Gpu,
    inputs: &[Input<'_>],
    upstream: Option<&Mat>,
    rows: usize,
    record: impl FnOnce(&mut Tape, &[Tensor]) -> Tensor,
) -> Outcome {
    let mut bench = Bench::default();
    let mut tape = Tape::new();
    let keys = bench.store.declare("keys", Role::Inputs, 1, 1);
    bench.words.push((keys, vec![77]));
    tape.round_by(keys);
    let tensors: Vec<Tensor> = inputs.iter().map(|input| bench.declare(&mut tape, input)).collect();
    let y = record(&mut tape, &tensors);
    let out = bench.store.declare("y", Role::Inputs, y.rows, y.cols);
    tape.copy(y, out);
    let seed = upstream.map(|dy| bench.upload(dy));
    if let Some((seed, dy)) = seed.zip(tape.needs(y).then(|| tape.gradient(y)).flatten()) {
        tape.copy(seed, dy.tensor);
    }
    tape.backward();
    let first = bench.execute(gpu, tape, out, rows);
    assert_eq!(first[0].bits(), first[1].bits(), "the second run of one program differs from the first");
    let [outcome, _] = first;
    outcome
}

#[derive(Default)]
struct Bench {
    store: Store,
    floats: Vec<(Tensor, Vec<f32>)>,
    words: Vec<(Tensor, Vec<u32>)>,
    gradients: Vec<Option<(Tensor, Vec<f32>)>>,
}

impl Bench {
    fn upload(&mut self, mat: &Mat) -> Tensor {
        self.upload_as(mat, Format::F32)
    }

    fn upload_as(&mut self, mat: &Mat, format: Format) -> Tensor {
        let tensor = self.store.declare_packed("input", Role::Inputs, mat.rows, mat.cols, format);
        self.floats.push((tensor, mat.f32()));
        tensor
    }

    fn declare(&mut self, tape: &mut Tape, input: &Input<'_>) -> Tensor {
        let gradient = |store: &mut Store, x: Tensor| {
            store.declare_packed("gradient", Role::Gradients, x.rows, x.cols, x.format)
        };
        match *input {
            Input::Frozen(mat) => {
                self.gradients.push(None);
                self.upload(mat)
            }
            Input::Packed(mat, format) => {
                self.gradients.push(None);
                self.upload_as(mat, format)
            }
            Input::Index(values, rows, cols) => {
                self.gradients.push(None);
                let tensor = self.store.declare("indices", Role::Inputs, rows, cols);
                self.words.push((tensor, values.to_vec()));
                tensor
            }
            Input::Param(mat, prior) => self.declare(tape, &Input::PackedParam(mat, prior, Format::F32)),
            Input::PackedParam(mat, prior, format) => {
                let x = self.upload_as(mat, format);
                let dx = gradient(&mut self.store, x);
                tape.train(x, dx);
                self.gradients.push(Some((dx, prior.f32())));
                x
            }
            Input::Activation(mat) => {
                let x = self.upload(mat);
                let dx = gradient(&mut self.store, x);
                tape.train(x, dx);
                self.gradients.push(Some((dx, vec![0.0; x.len()])));
                let zero = self.upload(&Mat::zeros(mat.rows, mat.cols));
                underdog::graph::ops::add(tape, x, zero)
            }
        }
    }

    fn execute(&mut self, gpu: &Gpu, tape: Tape, out: Tensor, rows: usize) -> [Outcome; 2] {
        let recording = poison(tape.finish(), &mut self.store, &mut self.floats);
        let memory = Memory::allocate(gpu, &self.store).expect("memory of a test");
        for (tensor, values) in &self.words {
            memory.write(gpu, *tensor, 0, values);
        }
        let mut program = Plan::new(recording).load(gpu, &memory).expect("slots of a test");
        [0, 1].map(|_| {
            for (tensor, values) in self.floats.iter().chain(self.gradients.iter().flatten()) {
                let mut upload = Upload::new(gpu);
                memory.upload(&mut upload, *tensor, 0, values).and_then(|()| upload.finish()).expect("upload");
            }
            memory.write(gpu, out, 0, &vec![f32::NAN; out.len()]);
            program.run_rows(gpu, rows).expect("run");
            let read = |tensor: Tensor| memory.read_numbers(gpu, tensor).expect("read");
            let gradients = self.gradients.iter().map(|g| g.as_ref().map(|(dx, _)| read(*dx)));
            Outcome { value: read(out), gradients: gradients.collect() }
        })
    }
}

/// Fills every transient tensor with NaN before the first command that touches it.
pub(crate) fn poison(recording: Recording, store: &mut Store, floats: &mut Vec<(Tensor, Vec<f32>)>) -> Recording {
    let most = recording.transients.iter().copied().max().unwrap_or(0).max(1);
    let nan = store.declare("poison", Role::Inputs, 1, most);
    floats.push((nan, vec![f32::NAN; most]));
    let mut seen = HashSet::new();
    let mut commands = Vec::new();
    for command in recording.commands {
        command.touches(|tensor, _, _| {
            if let Place::Tape(id) = tensor.place
                && seen.insert(id)
            {
                let whole = |x: Tensor| Tensor { offset: 0, rows: 1, cols: recording.transients[id as usize], ..x };
                commands.push(Command::Copy(whole(nan), whole(tensor)));
            }
        });
        commands.push(command);
    }
    Recording { commands, ..recording }
}

/// The largest difference as a share of the largest wanted number; an error names the place if it exceeds `tolerance`.
/// A wanted NaN stands for "unspecified".
pub(crate) fn compare(what: &str, got: &[f32], want: &Mat, tolerance: f64) -> Result<f64, String> {
    assert_eq!(got.len(), want.data.len(), "{what}: lengths");
    let scale = want.largest().max(f64::MIN_POSITIVE);
    let mut worst = (0.0, 0);
    for (i, (got, want)) in got.iter().zip(&want.data).enumerate() {
        let error = (f64::from(*got) - want).abs() / scale;
        if !want.is_nan() && (error > worst.0 || error.is_nan()) {
            worst = (error, i);
            if error.is_nan() {
                break;
            }
        }
    }
    let (error, i) = worst;
    if error <= tolerance {
        return Ok(error);
    }
    let (row, col) = (i / want.cols, i % want.cols);
    Err(format!(
        "{what} [{}, {}] at [{row}, {col}]: got {}, want {}; off by {error:.1e} of the largest ({scale:.3e}), allowed {tolerance:.1e}",
        want.rows, want.cols, got[i], want.data[i]
    ))
}
