//! Variants of attention: rows of queries (or keys) staged in workgroup memory, in registers, or as cooperative matrices. They
//! differ in the rows of a workgroup and the widest head that they take.

use super::row::variant;
use crate::{
    gpu::{Cooperative, MAX_GROUPS, Variant, kernel::Module},
    kernels::{
        attention::Params, attention_coop8_64, attention_coop8_128, attention_coop16_64, attention_coop16_128,
        attention_half_8x64, attention_half_8x128, attention_registers, attention_tile_4x64, attention_tile_4x128,
        attention_tile_4x256, attention_tile_8x64, attention_tile_8x128,
    },
};

/// Which of attention's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    /// The output.
    Forward,
    /// The gradient of queries.
    BackwardQ,
    /// The gradients of keys and values.
    BackwardKv,
}

/// Rows of the portable kernel's invocations.
pub const PORTABLE_ROWS: usize = 8;
/// Places of the other side that keep loops short enough, see `tests/ops/trips.rs`. Ranges are cut by the trips of the
/// portable kernel, which are few where heads are small.
const MOST_PLACES: u32 = 16_000;

/// A variant of some of the kernels.
struct Row {
    module: &'static Module,
    /// Rows of an invocation, or the size of a cooperative matrix.
    by: u32,
    /// Rows of a workgroup.
    rows: u32,
    /// The widest head.
    widest: u32,
    constants: &'static [(&'static str, u32)],
    /// The last of [`Pass`] that it has.
    until: Pass,
}

/// The variants of one of the kernels.
pub fn variants(pass: Pass) -> &'static [Variant] {
    use Pass::{BackwardKv as Kv, BackwardQ as Q, Forward};
    let row = |module, by, rows, widest, until, constants| Row { module, by, rows, widest, constants, until };
    let (m464, m864) = (&attention_tile_4x64::MODULE, &attention_tile_8x64::MODULE);
    let (m4128, m8128, m4256) =
        (&attention_tile_4x128::MODULE, &attention_tile_8x128::MODULE, &attention_tile_4x256::MODULE);
    let (half64, half128) = (&attention_half_8x64::MODULE, &attention_half_8x128::MODULE);
    let (c1664, c16128) = (&attention_coop16_64::MODULE, &attention_coop16_128::MODULE);
    let (c864, c8128) = (&attention_coop8_64::MODULE, &attention_coop8_128::MODULE);
    let rows = [
        // 32 rows in 16 KiB, 64 in 32 KiB. Gradients of keys and values are two sums a row: 8 rows an invocation only where
        // heads are narrow.
        row(m464, 4, 32, 64, Kv, &[("PART", 16)]),
        row(m864, 8, 32, 64, Kv, &[("TALL", 4), ("PART", 16)]),
        row(m464, 4, 64, 64, Kv, &[("TALL", 16), ("PART", 32), ("STAGE", 1600), ("FOLD", 1088)]),
        row(m864, 8, 64, 64, Kv, &[("PART", 32), ("STAGE", 1600), ("FOLD", 1088)]),
        row(m4128, 4, 32, 128, Kv, &[]),
        row(m8128, 8, 32, 128, Q, &[("TALL", 4)]),
        row(m4128, 4, 64, 128, Kv, &[("TALL", 16), ("PART", 16), ("STAGE", 1600), ("FOLD", 1088)]),
        row(m8128, 8, 64, 128, Q, &[("PART", 16), ("STAGE", 1600), ("FOLD", 1088)]),
        row(m4256, 4, 32, 256, Kv, &[("PART", 4)]),
        row(m4256, 4, 64, 256, Kv, &[("TALL", 16), ("PART", 8), ("STAGE", 1600), ("FOLD", 1088)]),
        // Staged in f16. Gradients have no such variant: without a gain, as cooperative ones have, they fall below its range.
        row(half64, 8, 64, 64, Forward, &[("PART", 16), ("STAGE", 1344), ("FOLD", 1088)]),
        row(half128, 8, 64, 128, Forward, &[("PART", 8), ("STAGE", 1344), ("FOLD", 1088)]),
        // Cooperative matrices, for subgroups of several sizes.
        row(c1664, 16, 64, 64, Kv, &[("SUBGROUP", 32), ("STAGE", 1440), ("SCORES", 1088)]),
        row(c1664, 16, 64, 64, Kv, &[("SUBGROUP", 64), ("STAGE", 1440), ("SCORES", 1088)]),
        row(c16128, 16, 64, 128, Kv, &[("SUBGROUP", 32), ("STAGE", 1696), ("SCORES", 1088)]),
        row(c16128, 16, 64, 128, Kv, &[("SUBGROUP", 64), ("STAGE", 1696), ("SCORES", 1088)]),
        row(c864, 8, 64, 64, Kv, &[("SUBGROUP", 32), ("STAGE", 5760), ("SCORES", 4352)]),
        row(c864, 8, 64, 64, Kv, &[("SUBGROUP", 8), ("STAGE", 5760), ("SCORES", 4352)]),
        row(c8128, 8, 64, 128, Kv, &[("SUBGROUP", 32), ("STAGE", 6784), ("SCORES", 4352)]),
        row(c8128, 8, 64, 128, Kv, &[("SUBGROUP", 8), ("STAGE", 6784), ("SCORES", 4352)]),
    ];
    let rows = rows.into_iter().filter(|row| row.until >= pass).map(|row| row.variant(pass));
    [register(pass)].into_iter().chain(rows).collect::<Vec<_>>().leak()
}

/// Whether invocations own pairs of one query alone.
pub fn decoding(p: &Params) -> bool {
    (p.tile_rows as usize) < PORTABLE_ROWS
}

/// 64 rows in the registers of a workgroup's 8 invocations. Ranges are cut for the portable kernel, whose trips are as many.
fn register(pass: Pass) -> Variant {
    let grid = move |params: &[u8]| {
        let p = taken(params, pass)?;
        let groups = pass.rows(&p)?.div_ceil(64).checked_mul(p.kv_heads)?;
        (groups <= MAX_GROUPS).then_some([groups, 1, 1])
    };
    let kernel = attention_registers::MODULE.entry(pass.entry());
    Variant { software: true, ..variant("register 64".into(), kernel, Vec::new(), [0, 8], grid) }
}

impl Row {
    fn variant(self, pass: Pass) -> Variant {
        let Self { module, by, rows, widest, constants, .. } = self;
        let half = module.enables.contains(&"f16");
        let subgroup = constants.iter().find(|(name, _)| *name == "SUBGROUP").map(|(_, size)| *size);
        // Those by cooperative matrices make the gradients of keys beside those of values.
        let depth = if subgroup.is_some() && pass == Pass::BackwardKv { 2 } else { 1 };
        let grid = move |params: &[u8]| {
            let p = taken(params, pass)?;
            let groups = pass.rows(&p)?.div_ceil(rows);
            let narrower = if widest > 64 { widest / 2 } else { 0 };
            let fits = p.head_dim > narrower && p.head_dim <= widest && pass.places(&p)? <= MOST_PLACES;
            (fits && groups <= MAX_GROUPS).then_some([groups, p.kv_heads, depth])
        };
        let (name, kib, invocations) = match subgroup {
            Some(subgroup) => (format!("cooperative {by}, subgroups of {subgroup}, to {widest}"), 32, 128),
            None if half => (format!("f16 {rows}x{by} to {widest}"), 16, 128),
            None => (format!("{rows}x{by} to {widest}"), rows / 2, if by == 4 { 4 * rows } else { 2 * rows }),
        };
        let constants = constants.iter().map(|(name, value)| (*name, f64::from(*value))).collect();
        let made = variant(name, module.entry(pass.entry()), constants, [kib << 10, invocations], grid);
        Variant { cooperative: subgroup.map(|_| Cooperative { size: by, half: true }), half, ..made }
    }
}

/// The immediates, unless this pass does not take them: forward, keys of a decoding step's queries lie far apart.
fn taken(params: &[u8], pass: Pass) -> Option<Params> {
    let p = bytemuck::try_pod_read_unaligned(params).ok()?;
    (pass != Pass::Forward || !decoding(&p)).then_some(p)
}

impl Pass {
    fn entry(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::BackwardQ => "backward_q",
            Self::BackwardKv => "backward_kv",
        }
    }

    /// Rows of a kv head that workgroups divide among themselves.
    fn rows(self, p: &Params) -> Option<u32> {
        if self == Self::BackwardKv { Some(p.kv_len) } else { p.q_len.checked_mul(p.q_heads / p.kv_heads) }
    }

    /// Places of the other side that each of them looks at.
    fn places(self, p: &Params) -> Option<u32> {
        let range = p.end - p.begin;
        if self == Self::BackwardKv { range.checked_mul(p.q_heads / p.kv_heads) } else { Some(range) }
    }
}
