//! Other forms of the products: with other tiles in registers, for software drivers; through workgroup memory, in f32 or
//! with factors rounded to f16, and by matrix units, for GPUs. Which is fastest depends on device and shape; nothing here
//! chooses.
//!
//! A name tells the rows and columns of Y that a workgroup makes and the terms that it stages at a time, twice if there are
//! two buffers; of forms in registers, those of an invocation.

use super::{lanes_grid, trial};
use crate::gpu::{
    Alternative, Cooperative, Family, MAX_GROUPS,
    kernels::{
        linear::{self, Params},
        linear_bf16, linear_coop8, linear_coop8_f32, linear_coop16, linear_coop16_2x4, linear_f16, linear_half_8x8,
        linear_half_slices_4x4, linear_narrow, linear_nf4, linear_q4, linear_q8, linear_registers_32x16,
        linear_registers_48x4, linear_shallow, linear_slices_4x4, linear_tile_4x4, linear_tile_8x4, linear_tile_8x8,
        linear_tile_8x8_bf16, linear_tile_8x8_f16, linear_tile_8x8_nf4, linear_tile_8x8_q4, linear_tile_8x8_q8,
    },
};

pub(in crate::graph::ops) static FAMILIES: &[Family] = &[
    Family { kernel: &linear::NT, class, alternatives: NT, trial: trial::NT },
    Family { kernel: &linear_narrow::NT, class, alternatives: NT, trial: trial::NARROW },
    Family { kernel: &linear::NN, class, alternatives: NN, trial: trial::NN },
    Family { kernel: &linear_shallow::NN, class, alternatives: NN, trial: trial::SHALLOW },
    Family { kernel: &linear::TN, class, alternatives: TN, trial: trial::TN },
];

/// Extents of one class share a choice: each is rounded up to a power of two between these.
const CLASSES: [u32; 2] = [16, 8192];

fn class(params: &[u8]) -> String {
    let Params { m, n, k, .. } = bytemuck::pod_read_unaligned(params);
    let [m, n, k] = [m, n, k].map(|extent| extent.clamp(CLASSES[0], CLASSES[1]).next_power_of_two());
    format!("{m}x{n}x{k}")
}

/// Workgroups of M rows by N columns of Y.
fn grid<const M: u32, const N: u32>(params: &[u8]) -> Option<[u32; 3]> {
    let Params { m, n, .. } = bytemuck::pod_read_unaligned(params);
    let grid = [n.div_ceil(N), m.div_ceil(M), 1];
    (grid[0].max(grid[1]) <= MAX_GROUPS).then_some(grid)
}

/// Which rows run along the depth: those of X, those of W.
#[derive(Clone, Copy)]
struct Form(bool, bool);

type Constants<const N: usize> = [(&'static str, f64); N];

/// Constants of `lib/linear_tile.wgsl`.
#[derive(Clone, Copy)]
struct Tile {
    /// Rows and columns of an invocation.
    of: [u32; 2],
    /// Invocations along the columns and along the rows.
    threads: [u32; 2],
    depth: u32,
    slices: u32,
    buffers: u32,
}

impl Tile {
    const fn new(of: [u32; 2], threads: [u32; 2], depth: u32) -> Self {
        Self { of, threads, depth, slices: 1, buffers: 1 }
    }

    const fn twice(self) -> Self {
        Self { buffers: 2, ..self }
    }

    const fn slices(self, slices: u32) -> Self {
        Self { slices, ..self }
    }

    const fn rows(self) -> u32 {
        self.threads[1] * self.of[0]
    }

    const fn columns(self) -> u32 {
        self.threads[0] * self.of[1]
    }

    /// `sliced`: the kernel can have slices, and keeps room for a tile of sums.
    const fn bytes(self, half: bool, sliced: bool) -> u32 {
        let number = if half { 2 } else { 4 };
        let sums = if sliced { 4 * self.rows() * self.columns() } else { 0 };
        number * (self.rows() + self.columns()) * self.depth * self.slices * self.buffers + sums
    }

    const fn invocations(self) -> u32 {
        self.threads[0] * self.threads[1] * self.slices
    }

    const fn constants(self, form: Form) -> Constants<7> {
        let beside = if self.threads[0] < 8 { self.threads[0] } else { 8 };
        [
            ("TX", self.threads[0] as f64),
            ("TY", self.threads[1] as f64),
            ("WX", beside as f64),
            ("DEPTH", self.depth as f64),
            ("BUFFERS", self.buffers as f64),
            ("X_DEEP", form.0 as u32 as f64),
            ("W_DEEP", form.1 as u32 as f64),
        ]
    }

    const fn sliced_constants(self, form: Form) -> Constants<8> {
        let [a, b, c, d, e, f, g] = self.constants(form);
        [a, b, c, d, e, f, g, ("SLICES", self.slices as f64)]
    }
}

/// Constants of `lib/linear_coop.wgsl`.
#[derive(Clone, Copy)]
struct Units {
    unit: Cooperative,
    /// Squares of a subgroup: below and beside each other.
    of: [u32; 2],
    /// Invocations of a subgroup.
    subgroup: u32,
    /// Subgroups along the columns and along the rows.
    subgroups: [u32; 2],
    depth: u32,
    buffers: u32,
}

impl Units {
    const fn new(unit: Cooperative, of: [u32; 2], subgroup: u32, subgroups: [u32; 2], depth: u32) -> Self {
        Self { unit, of, subgroup, subgroups, depth, buffers: 1 }
    }

    const fn twice(self) -> Self {
        Self { buffers: 2, ..self }
    }

    const fn rows(self) -> u32 {
        self.subgroups[1] * self.of[0] * self.unit.size
    }

    const fn columns(self) -> u32 {
        self.subgroups[0] * self.of[1] * self.unit.size
    }

    const fn bytes(self, form: Form) -> u32 {
        const PAD: u32 = linear_coop8::PAD as u32;
        const fn block(extent: u32, depth: u32, deep: bool) -> u32 {
            if deep { extent * (depth + PAD) } else { depth * (extent + PAD) }
        }
        let number = if self.unit.half { 2 } else { 4 };
        let staged = block(self.rows(), self.depth, form.0) + block(self.columns(), self.depth, form.1);
        let edge = 4 * self.subgroups[0] * self.subgroups[1] * self.unit.size * self.unit.size;
        number * staged * self.buffers + edge
    }

    const fn invocations(self) -> u32 {
        self.subgroup * self.subgroups[0] * self.subgroups[1]
    }

    const fn constants(self, form: Form) -> Constants<7> {
        [
            ("SUBGROUP", self.subgroup as f64),
            ("SX", self.subgroups[0] as f64),
            ("SY", self.subgroups[1] as f64),
            ("DEPTH", self.depth as f64),
            ("BUFFERS", self.buffers as f64),
            ("X_DEEP", form.0 as u32 as f64),
            ("W_DEEP", form.1 as u32 as f64),
        ]
    }
}

macro_rules! tile {
    ($form:expr, $kernel:expr, $name:literal, $tile:expr, $half:literal) => {{
        const TILE: Tile = $tile;
        Alternative {
            name: $name,
            kernel: &$kernel,
            constants: &const { TILE.constants($form) },
            workgroup_bytes: TILE.bytes($half, false),
            invocations: TILE.invocations(),
            cooperative: None,
            half: $half,
            software: false,
            grid: grid::<{ TILE.rows() }, { TILE.columns() }>,
        }
    }};
}

macro_rules! sliced {
    ($form:expr, $kernel:expr, $name:literal, $tile:expr, $half:literal) => {{
        const TILE: Tile = $tile;
        Alternative {
            constants: &const { TILE.sliced_constants($form) },
            workgroup_bytes: TILE.bytes($half, true),
            ..tile!($form, $kernel, $name, $tile, $half)
        }
    }};
}

macro_rules! units {
    ($form:expr, $kernel:expr, $name:literal, $units:expr) => {{
        const UNITS: Units = $units;
        Alternative {
            name: $name,
            kernel: &$kernel,
            constants: &const { UNITS.constants($form) },
            workgroup_bytes: UNITS.bytes($form),
            invocations: UNITS.invocations(),
            cooperative: Some(UNITS.unit),
            half: UNITS.unit.half,
            software: false,
            grid: grid::<{ UNITS.rows() }, { UNITS.columns() }>,
        }
    }};
}

macro_rules! registers {
    ($module:ident::$entry:ident, $name:literal) => {
        Alternative {
            name: $name,
            kernel: &$module::$entry,
            constants: &[],
            workgroup_bytes: 0,
            invocations: $module::LANES as u32,
            cooperative: None,
            half: false,
            software: true,
            grid: |params| {
                let Params { m, n, .. } = bytemuck::pod_read_unaligned(params);
                let extents = [m as usize, n as usize];
                let [x, y] = lanes_grid(extents, [$module::ROWS, $module::COLUMNS], $module::BLOCKS);
                let fits = |groups: usize| u32::try_from(groups).ok().filter(|groups| *groups <= MAX_GROUPS);
                Some([fits(x)?, fits(y)?, 1])
            },
        }
    };
}

const UNIT8: Cooperative = Cooperative { size: 8, half: true };
const UNIT8_F32: Cooperative = Cooperative { size: 8, half: false };
const UNIT16: Cooperative = Cooperative { size: 16, half: true };

/// The same tiles for each form. `$entry`: the entry point with the bindings of the form's portable kernel; `$in_registers`:
/// that of the form in registers.
macro_rules! alternatives {
    ($form:expr, $entry:ident, $in_registers:ident) => {
        &[
            registers!(linear_registers_32x16::$in_registers, "registers 32x16"),
            registers!(linear_registers_48x4::$in_registers, "registers 48x4"),
            tile!($form, linear_tile_8x8::$entry, "tile 128x128x8x2", Tile::new([8, 8], [16, 16], 8).twice(), false),
            tile!($form, linear_tile_8x8::$entry, "tile 128x128x16", Tile::new([8, 8], [16, 16], 16), false),
            tile!(
                $form,
                linear_tile_8x8::$entry,
                "tile 128x128x16x2",
                Tile::new([8, 8], [16, 16], 16).twice(),
                false
            ),
            tile!($form, linear_tile_8x8::$entry, "tile 128x64x16", Tile::new([8, 8], [8, 16], 16), false),
            tile!($form, linear_tile_8x8::$entry, "tile 64x128x16", Tile::new([8, 8], [16, 8], 16), false),
            tile!($form, linear_tile_8x8::$entry, "tile 64x64x16", Tile::new([8, 8], [8, 8], 16), false),
            tile!($form, linear_tile_8x8::$entry, "tile 64x64x16x2", Tile::new([8, 8], [8, 8], 16).twice(), false),
            tile!($form, linear_tile_8x4::$entry, "tile 128x64x16 by 8x4", Tile::new([8, 4], [16, 16], 16), false),
            tile!($form, linear_tile_4x4::$entry, "tile 64x64x16 by 4x4", Tile::new([4, 4], [16, 16], 16), false),
            sliced!(
                $form,
                linear_slices_4x4::$entry,
                "4 slices 32x32x8",
                Tile::new([4, 4], [8, 8], 8).slices(4),
                false
            ),
            sliced!(
                $form,
                linear_slices_4x4::$entry,
                "8 slices 32x16x8",
                Tile::new([4, 4], [4, 8], 8).slices(8),
                false
            ),
            sliced!(
                $form,
                linear_slices_4x4::$entry,
                "8 slices 16x32x8",
                Tile::new([4, 4], [8, 4], 8).slices(8),
                false
            ),
            tile!($form, linear_half_8x8::$entry, "half 128x128x16", Tile::new([8, 8], [16, 16], 16), true),
            tile!($form, linear_half_8x8::$entry, "half 128x128x16x2", Tile::new([8, 8], [16, 16], 16).twice(), true),
            tile!($form, linear_half_8x8::$entry, "half 64x64x16", Tile::new([8, 8], [8, 8], 16), true),
            sliced!(
                $form,
                linear_half_slices_4x4::$entry,
                "half 4 slices 32x32x8",
                Tile::new([4, 4], [8, 8], 8).slices(4),
                true
            ),
            units!(
                $form,
                linear_coop8_f32::$entry,
                "f32 units of 8, 64x64x16",
                Units::new(UNIT8_F32, [4, 4], 32, [2, 2], 16)
            ),
            units!($form, linear_coop8::$entry, "units of 8, 64x64x32", Units::new(UNIT8, [4, 4], 32, [2, 2], 32)),
            units!($form, linear_coop8::$entry, "units of 8, 128x64x32", Units::new(UNIT8, [4, 4], 32, [2, 4], 32)),
            units!(
                $form,
                linear_coop8::$entry,
                "units of 8, 64x64x16 by 8",
                Units::new(UNIT8, [4, 4], 8, [2, 2], 16)
            ),
            units!(
                $form,
                linear_coop8::$entry,
                "units of 8, 64x64x8x2 by 8",
                Units::new(UNIT8, [4, 4], 8, [2, 2], 8).twice()
            ),
            units!(
                $form,
                linear_coop16_2x4::$entry,
                "units of 16, 64x128x32",
                Units::new(UNIT16, [2, 4], 32, [2, 2], 32)
            ),
            units!(
                $form,
                linear_coop16_2x4::$entry,
                "units of 16, 128x128x32",
                Units::new(UNIT16, [2, 4], 32, [2, 4], 32)
            ),
            units!(
                $form,
                linear_coop16_2x4::$entry,
                "units of 16, 128x128x32x2",
                Units::new(UNIT16, [2, 4], 32, [2, 4], 32).twice()
            ),
            units!(
                $form,
                linear_coop16::$entry,
                "units of 16, 128x128x32 by 4x4",
                Units::new(UNIT16, [4, 4], 32, [2, 2], 32)
            ),
            units!(
                $form,
                linear_coop16::$entry,
                "units of 16, 256x128x32",
                Units::new(UNIT16, [4, 4], 32, [2, 4], 32)
            ),
            units!(
                $form,
                linear_coop16::$entry,
                "units of 16, 128x256x32",
                Units::new(UNIT16, [4, 4], 32, [4, 2], 32)
            ),
            units!(
                $form,
                linear_coop16_2x4::$entry,
                "units of 16, 64x128x32 by 64",
                Units::new(UNIT16, [2, 4], 64, [2, 2], 32)
            ),
            units!(
                $form,
                linear_coop16::$entry,
                "units of 16, 128x128x32 by 64",
                Units::new(UNIT16, [4, 4], 64, [2, 2], 32)
            ),
        ]
    };
}

/// Those with a packed W, which are few: what differs is how W is read.
macro_rules! packed {
    ($form:expr, $entry:ident, $kernels:ident) => {
        &[
            tile!($form, $kernels::$entry, "tile 128x128x16", Tile::new([8, 8], [16, 16], 16), false),
            tile!($form, $kernels::$entry, "tile 64x128x16", Tile::new([8, 8], [16, 8], 16), false),
            tile!($form, $kernels::$entry, "tile 64x64x16", Tile::new([8, 8], [8, 8], 16), false),
            tile!($form, $kernels::$entry, "tile 64x64x16x2", Tile::new([8, 8], [8, 8], 16).twice(), false),
        ]
    };
}

macro_rules! packed_families {
    ($($portable:ident by $tiles:ident: $trial:ident;)*) => {
        &[$(
            Family {
                kernel: &$portable::NT,
                class,
                alternatives: packed!(Form(true, true), ADDING, $tiles),
                trial: trial::$trial[0],
            },
            Family {
                kernel: &$portable::NN,
                class,
                alternatives: packed!(Form(true, false), PLAIN, $tiles),
                trial: trial::$trial[1],
            },
        )*]
    };
}

/// Products with a packed W.
pub(in crate::graph::ops) static PACKED: &[Family] = packed_families! {
    linear_bf16 by linear_tile_8x8_bf16: BF16;
    linear_f16 by linear_tile_8x8_f16: F16;
    linear_q8 by linear_tile_8x8_q8: Q8;
    linear_q4 by linear_tile_8x8_q4: Q4;
    linear_nf4 by linear_tile_8x8_nf4: NF4;
};

static NT: &[Alternative] = alternatives!(Form(true, true), ADDING, NT);
static NN: &[Alternative] = alternatives!(Form(true, false), PLAIN, NN);
static TN: &[Alternative] = alternatives!(Form(false, false), PLAIN, TN);
