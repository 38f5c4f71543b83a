//! Kernels with variants of every kind: a right one, a slow one, and one for each way to be wrong.

use underdog::{
    gpu::{
        Extents, Kernel, KernelGroup, Trial, Variant,
        kernel::{Binding, Module},
    },
    graph::{
        ops::matmul::{Product, nt},
        tape::{Command, Tape},
        tensor::{Role, Store},
    },
    kernels::linear,
};

/// `y = 2 x`, or `y += 2 x`, in a way that its overrides spoil.
const SOURCE: &str = "
struct Params { n: u32, accumulate: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
override FACTOR: f32 = 2.0;
override SPIN: u32 = 300; // rounds of idling
override PAST: u32 = 0; // elements too many
override SHORT: u32 = 0; // elements too few
override WHOLE: u32 = 1; // elements of a tile, of which only whole ones are done
override BEHIND: f32 = 0; // multiplies the next element
override ADDS: u32 = 2; // 0: never, 1: always, 2: as it should

@compute @workgroup_size(64)
fn double(@builtin(global_invocation_id) at: vec3<u32>) {
    let i = at.x;
    if i < (params.n / WHOLE) * WHOLE + PAST - SHORT {
        var idle = x[i];
        for (var k = 0u; k < SPIN; k++) {
            idle = idle * 0.5 + x[(i + k) % params.n];
        }
        var value = FACTOR * x[min(i, params.n - 1u)];
        if BEHIND > 0.0 {
            value += BEHIND * x[i + 1u];
        }
        if idle > 1e30 {
            value = 0.0;
        }
        if ADDS == 1u || (ADDS == 2u && params.accumulate != 0u) {
            value += y[i];
        }
        y[i] = value;
    }
}
";

static MODULE: Module = Module { name: "tune_double", source: SOURCE, enables: &[], kernels: &[] };

static KERNEL: Kernel = Kernel {
    name: "tune_double.double",
    module: &MODULE,
    entry: "double",
    workgroup: [64, 1, 1],
    params_size: 8,
    bindings: &[
        Binding { index: 0, name: "x", writable: false, reads: true, writes: false },
        Binding { index: 1, name: "y", writable: true, reads: true, writes: true },
    ],
};

fn words(params: &[u8]) -> Vec<u32> {
    params.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

fn grid(params: &[u8]) -> Option<[u32; 3]> {
    // One workgroup more, for the variant that goes too far.
    Some([words(params)[0].div_ceil(64) + 1, 1, 1])
}

const fn variant(name: &'static str, constants: &'static [(&'static str, f64)]) -> Variant {
    Variant {
        name,
        kernel: &KERNEL,
        constants,
        workgroup_bytes: 0,
        invocations: 64,
        cooperative: None,
        half: false,
        software: false,
        grid: &grid,
    }
}

/// Classes are by length.
pub(crate) static DOUBLE: KernelGroup = KernelGroup {
    kernel: &KERNEL,
    class: |params| words(params)[0].to_string(),
    variants: &[
        variant("slow", &[("SPIN", 900.0)]),
        variant("quick", &[("SPIN", 1.0)]),
        variant("wrong factor", &[("SPIN", 0.0), ("FACTOR", 2.001)]),
        variant("past the end", &[("SPIN", 0.0), ("PAST", 3.0)]),
        variant("not finished", &[("SPIN", 0.0), ("SHORT", 1.0)]),
        variant("tail", &[("SPIN", 0.0), ("WHOLE", 64.0)]),
        variant("reads behind", &[("SPIN", 0.0), ("BEHIND", 1e-30)]),
        variant("never adds", &[("SPIN", 0.0), ("ADDS", 0.0)]),
        variant("adds where it should not", &[("SPIN", 0.0), ("ADDS", 1.0)]),
        variant("refused", &[("SPIN", 0.0), ("NO_SUCH", 1.0)]),
        Variant { half: true, ..variant("half", &[("SPIN", 0.0), ("FACTOR", 2.001)]) },
        Variant { workgroup_bytes: u32::MAX, ..variant("not offered", &[]) },
        Variant { grid: &|_| None, ..variant("takes nothing", &[]) },
    ],
    trial: Trial {
        work: |params| f64::from(words(params)[0]),
        fill: |_, _, _| None,
        ragged: || [(1, false), (63, false), (63, true), (130, true)].map(|(n, adds)| dispatch(n, adds).1).into(),
    },
};

/// One dispatch of [`DOUBLE`].
pub(crate) fn dispatch(n: u32, accumulate: bool) -> (&'static Kernel, Extents) {
    let params = [n, u32::from(accumulate)].map(u32::to_le_bytes).concat();
    let bytes = vec![u64::from(n) * 4; 2];
    (&KERNEL, Extents { params, bytes, same: vec![0, 1], grid: [n.div_ceil(64), 1, 1] })
}

fn tiles(params: &[u8]) -> Option<[u32; 3]> {
    let [m, n, ..] = words(params)[..] else { return None };
    Some([m.div_ceil(16).div_ceil((m.div_ceil(16) * n.div_ceil(128) / 8).clamp(1, 8)), n.div_ceil(128), 1])
}

const fn product(name: &'static str, kernel: &'static Kernel) -> Variant {
    Variant {
        name,
        kernel,
        constants: &[],
        workgroup_bytes: 0,
        invocations: 8,
        cooperative: None,
        half: false,
        software: false,
        grid: &tiles,
    }
}

/// `linear.nt` with itself and with the product of other operands.
pub(crate) static LINEAR: KernelGroup = KernelGroup {
    kernel: &linear::NT,
    class: |params| format!("{:?}", &words(params)[..3]),
    variants: &[product("again", &linear::NT), product("transposed", &linear::NN)],
    trial: Trial {
        work: |params| words(params)[..3].iter().map(|n| f64::from(*n)).product(),
        fill: |_, _, _| None,
        ragged: || vec![linear(9, 132, 20).1, linear(33, 68, 68).1],
    },
};

/// One product, as the tape records it.
pub(crate) fn linear(m: usize, n: usize, k: usize) -> (&'static Kernel, Extents) {
    let mut store = Store::default();
    let mut tensor = |rows, cols| store.declare("t", Role::Inputs, rows, cols);
    let (x, w, y) = (tensor(m, k), tensor(n, k), tensor(m, n));
    let mut tape = Tape::new();
    nt(&mut tape, x, w, None, y, Product::dense(m, n, k));
    tape.finish().commands.iter().find_map(Command::dispatch).expect("a dispatch")
}
