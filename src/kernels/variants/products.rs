//! Variants of the matrix products: tiles of Y in the registers of an invocation, in workgroup memory, or of cooperative
//! matrices.

use super::row::{Constants, variant};
use crate::{
    gpu::{Cooperative, MAX_GROUPS, Variant, kernel::Module},
    kernels::{
        linear::{self, Params},
        linear_coop8_f16, linear_coop8_f32, linear_coop16_2x4, linear_coop16_4x4, linear_registers_32x16,
        linear_registers_48x4, linear_tile_4x4, linear_tile_4x4_half_split_k, linear_tile_4x4_split_k,
        linear_tile_8x4, linear_tile_8x8, linear_tile_8x8_half,
    },
};

/// How the operands of a product lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operands {
    /// `X W^T`
    Nt,
    /// `X W`
    Nn,
    /// `X^T W`
    Tn,
}

/// The variants of the f32 kernels.
pub fn f32(operands: Operands) -> &'static [Variant] {
    macro_rules! register {
        ($module:ident, $name:literal) => {{
            let grid = |params: &[u8]| {
                let Params { m, n, .. } = bytemuck::pod_read_unaligned(params);
                let tile = [$module::ROWS, $module::COLUMNS];
                let [x, y] = register_grid([m as usize, n as usize], tile, $module::BLOCKS);
                let fits = |groups: usize| u32::try_from(groups).ok().filter(|groups| *groups <= MAX_GROUPS);
                Some([fits(x)?, fits(y)?, 1])
            };
            let kernel = $module::MODULE.entry(operands.entry());
            let sizes = [0, $module::LANES as u32];
            Variant { software: true, ..variant($name.into(), kernel, Vec::new(), sizes, grid) }
        }};
    }
    let register =
        [register!(linear_registers_32x16, "register 32x16"), register!(linear_registers_48x4, "register 48x4")];
    let (t88, t84, t44) = (&linear_tile_8x8::MODULE, &linear_tile_8x4::MODULE, &linear_tile_4x4::MODULE);
    let (split, half, half_split) =
        (&linear_tile_4x4_split_k::MODULE, &linear_tile_8x8_half::MODULE, &linear_tile_4x4_half_split_k::MODULE);
    let tiles = [
        Tile::new(t88, [8, 8], [16, 16], 8).twice(),
        Tile::new(t88, [8, 8], [16, 16], 16),
        Tile::new(t88, [8, 8], [16, 16], 16).twice(),
        Tile::new(t88, [8, 8], [8, 16], 16),
        Tile::new(t88, [8, 8], [16, 8], 16),
        Tile::new(t88, [8, 8], [8, 8], 16),
        Tile::new(t88, [8, 8], [8, 8], 16).twice(),
        Tile::new(t84, [8, 4], [16, 16], 16),
        Tile::new(t44, [4, 4], [16, 16], 16),
        Tile::new(split, [4, 4], [8, 8], 8).split(4),
        Tile::new(split, [4, 4], [4, 8], 8).split(8),
        Tile::new(split, [4, 4], [8, 4], 8).split(8),
        Tile::new(half, [8, 8], [16, 16], 16),
        Tile::new(half, [8, 8], [16, 16], 16).twice(),
        Tile::new(half, [8, 8], [8, 8], 16),
        Tile::new(half_split, [4, 4], [8, 8], 8).split(4),
    ];
    let (c8, c8_f32) = (&linear_coop8_f16::MODULE, &linear_coop8_f32::MODULE);
    let (c16, c16_2x4) = (&linear_coop16_4x4::MODULE, &linear_coop16_2x4::MODULE);
    let squares = [
        Squares::new(c8_f32, 8, [4, 4], 32, [2, 2], 16),
        Squares::new(c8, 8, [4, 4], 32, [2, 2], 32),
        Squares::new(c8, 8, [4, 4], 32, [2, 4], 32),
        Squares::new(c8, 8, [4, 4], 8, [2, 2], 16),
        Squares::new(c8, 8, [4, 4], 8, [2, 2], 8).twice(),
        Squares::new(c16_2x4, 16, [2, 4], 32, [2, 2], 32),
        Squares::new(c16_2x4, 16, [2, 4], 32, [2, 4], 32),
        Squares::new(c16_2x4, 16, [2, 4], 32, [2, 4], 32).twice(),
        Squares::new(c16, 16, [4, 4], 32, [2, 2], 32),
        Squares::new(c16, 16, [4, 4], 32, [2, 4], 32),
        Squares::new(c16, 16, [4, 4], 32, [4, 2], 32),
        Squares::new(c16_2x4, 16, [2, 4], 64, [2, 2], 32),
        Squares::new(c16, 16, [4, 4], 64, [2, 2], 32),
    ];
    let tiles = tiles.into_iter().map(|tile| tile.variant(operands));
    register
        .into_iter()
        .chain(tiles)
        .chain(squares.into_iter().map(|squares| squares.variant(operands)))
        .collect::<Vec<_>>()
        .leak()
}

/// Those of the kernels with a packed W, whose tiles `module` has: few, since only how W is read differs.
pub fn packed(module: &'static Module, operands: Operands) -> &'static [Variant] {
    let tiles = [
        Tile::new(module, [8, 8], [16, 16], 16),
        Tile::new(module, [8, 8], [16, 8], 16),
        Tile::new(module, [8, 8], [8, 8], 16),
        Tile::new(module, [8, 8], [8, 8], 16).twice(),
    ];
    tiles.map(|tile| tile.variant(operands)).to_vec().leak()
}

/// Workgroups of `lib/linear_registers.wgsl`, by its rule: at most `blocks` tiles of `[rows, columns]` an invocation.
pub fn register_grid([m, n]: [usize; 2], [rows, columns]: [usize; 2], blocks: usize) -> [usize; 2] {
    let [down, across] = [m.div_ceil(rows), n.div_ceil(columns)];
    [down.div_ceil((down * across / linear::WORKGROUPS).clamp(1, blocks)), across]
}

impl Operands {
    fn entry(self) -> &'static str {
        match self {
            Self::Nt => "nt",
            Self::Nn => "nn",
            Self::Tn => "tn",
        }
    }

    /// The entry point of the other modules: with what is added to the sums, or without.
    fn staged_entry(self) -> &'static str {
        if self == Self::Nt { "adding" } else { "plain" }
    }

    /// Whether rows run along the depth: those of X, those of W.
    fn deep(self) -> [bool; 2] {
        [self != Self::Tn, self == Self::Nt]
    }

    fn constants(self, depth: u32, buffers: u32) -> Constants {
        let [x, w] = self.deep().map(|deep| f64::from(u8::from(deep)));
        vec![("DEPTH", depth.into()), ("BUFFERS", buffers.into()), ("X_DEEP", x), ("W_DEEP", w)]
    }
}

/// Workgroups of so many rows and columns of Y.
fn tiled([rows, columns]: [u32; 2]) -> impl Fn(&[u8]) -> Option<[u32; 3]> + Sync {
    move |params| {
        let Params { m, n, .. } = bytemuck::pod_read_unaligned(params);
        let grid = [n.div_ceil(columns), m.div_ceil(rows), 1];
        (grid[0].max(grid[1]) <= MAX_GROUPS).then_some(grid)
    }
}

/// A tile in workgroup memory: the constants of `lib/linear_tile.wgsl`.
#[derive(Clone, Copy)]
struct Tile {
    module: &'static Module,
    /// Rows and columns of an invocation.
    of: [u32; 2],
    /// Invocations along the columns and along the rows.
    threads: [u32; 2],
    depth: u32,
    split_k: u32,
    buffers: u32,
}

impl Tile {
    fn new(module: &'static Module, of: [u32; 2], threads: [u32; 2], depth: u32) -> Self {
        Self { module, of, threads, depth, split_k: 1, buffers: 1 }
    }

    fn twice(self) -> Self {
        Self { buffers: 2, ..self }
    }

    fn split(self, split_k: u32) -> Self {
        Self { split_k, ..self }
    }

    fn variant(self, operands: Operands) -> Variant {
        let Self { module, of, threads, depth, split_k, buffers } = self;
        let half = module.enables.contains(&"f16");
        let (rows, columns) = (threads[1] * of[0], threads[0] * of[1]);
        let mut constants = operands.constants(depth, buffers);
        constants
            .extend([("TX", threads[0]), ("TY", threads[1]), ("WX", threads[0].min(8))].map(|(n, x)| (n, x.into())));
        let mut bytes = if half { 2 } else { 4 } * (rows + columns) * depth * split_k * buffers;
        if split_k > 1 {
            constants.push(("SPLIT_K", split_k.into()));
            bytes += 4 * rows * columns;
        }
        let name = [
            if half { "f16 " } else { "" },
            &if split_k > 1 { format!("split-k {split_k}, ") } else { String::new() },
            &format!("tile {rows}x{columns}x{depth}"),
            if buffers > 1 { "x2" } else { "" },
            &format!(" by {}x{}", of[0], of[1]),
        ];
        let sizes = [bytes, threads[0] * threads[1] * split_k];
        let kernel = module.entry(operands.staged_entry());
        Variant { half, ..variant(name.concat(), kernel, constants, sizes, tiled([rows, columns])) }
    }
}

/// A tile of cooperative matrices: the constants of `lib/linear_squares.wgsl`.
#[derive(Clone, Copy)]
struct Squares {
    module: &'static Module,
    size: u32,
    /// Squares of a subgroup: below and beside each other.
    of: [u32; 2],
    /// Invocations of a subgroup.
    subgroup: u32,
    /// Subgroups along the columns and along the rows.
    subgroups: [u32; 2],
    depth: u32,
    buffers: u32,
}

impl Squares {
    fn new(module: &'static Module, size: u32, of: [u32; 2], subgroup: u32, subgroups: [u32; 2], depth: u32) -> Self {
        Self { module, size, of, subgroup, subgroups, depth, buffers: 1 }
    }

    fn twice(self) -> Self {
        Self { buffers: 2, ..self }
    }

    fn variant(self, operands: Operands) -> Variant {
        const PAD: u32 = linear_coop8_f16::PAD as u32;
        let Self { module, size, of, subgroup, subgroups, depth, buffers } = self;
        let half = module.enables.contains(&"f16");
        let (rows, columns) = (subgroups[1] * of[0] * size, subgroups[0] * of[1] * size);
        let mut constants = operands.constants(depth, buffers);
        let own = [("SUBGROUP", subgroup), ("SX", subgroups[0]), ("SY", subgroups[1])];
        constants.extend(own.map(|(name, x)| (name, f64::from(x))));
        let block = |extent, deep| if deep { extent * (depth + PAD) } else { depth * (extent + PAD) };
        let [x_deep, w_deep] = operands.deep();
        let staged = block(rows, x_deep) + block(columns, w_deep);
        let bytes = if half { 2 } else { 4 } * staged * buffers + 4 * subgroups[0] * subgroups[1] * size * size;
        let (number, twice) = (if half { "f16" } else { "f32" }, if buffers > 1 { "x2" } else { "" });
        let by = format!("by {}x{} of {subgroup}", of[0], of[1]);
        let name = format!("cooperative {size} {number}, {rows}x{columns}x{depth}{twice} {by}");
        let sizes = [bytes, subgroup * subgroups[0] * subgroups[1]];
        let kernel = module.entry(operands.staged_entry());
        let made = variant(name, kernel, constants, sizes, tiled([rows, columns]));
        Variant { cooperative: Some(Cooperative { size, half }), half, ..made }
    }
}
